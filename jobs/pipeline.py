"""All stages of a run.

ray job submit --working-dir . -- python -m jobs.pipeline --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
