"""The stage `icot` alone.

ray job submit --working-dir . -- python -m jobs.icot --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["icot", *sys.argv[1:]]))
