"""All arms of an ablation.

ray job submit --working-dir . -- python -m jobs.ablate --tasks seven --config configs/NAME.yaml
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["ablate", *sys.argv[1:]]))
