"""The stage `base` alone.

ray job submit --working-dir . -- python -m jobs.base --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["base", *sys.argv[1:]]))
