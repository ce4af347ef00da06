"""The stage `rationales` alone.

ray job submit --working-dir . -- python -m jobs.rationales --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["rationales", *sys.argv[1:]]))
