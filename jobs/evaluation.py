"""The stage `evaluation` alone.

ray job submit --working-dir . -- python -m jobs.evaluation --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluation", *sys.argv[1:]]))
