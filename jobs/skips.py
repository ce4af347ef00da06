"""The stage `skips` alone.

ray job submit --working-dir . -- python -m jobs.skips --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["skips", *sys.argv[1:]]))
