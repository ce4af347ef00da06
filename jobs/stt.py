"""The stage `stt` alone.

ray job submit --working-dir . -- python -m jobs.stt --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["stt", *sys.argv[1:]]))
