"""A description of the data set, before any training.

ray job submit --working-dir . -- python -m jobs.look --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["look", *sys.argv[1:]]))
