"""The stage `cwt` alone.

ray job submit --working-dir . -- python -m jobs.cwt --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["cwt", *sys.argv[1:]]))
