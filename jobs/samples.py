"""The stage `samples` alone.

ray job submit --working-dir . -- python -m jobs.samples --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["samples", *sys.argv[1:]]))
