"""The stage `report` alone.

ray job submit --working-dir . -- python -m jobs.report --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
