"""A sweep over a search space.

ray job submit --working-dir . -- python -m jobs.tune SPACE --tasks seven --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
