"""The stage `chunks` alone.

ray job submit --working-dir . -- python -m jobs.chunks --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["chunks", *sys.argv[1:]]))
