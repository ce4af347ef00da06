"""A chunk search over any number of samples, with a trained student.

    ray job submit --working-dir . -- python -m jobs.rechunk --student runs/demo/cwt/student \\
    --samples runs/demo/chunks --out s3://bucket/searched --num-actors 16
"""

import sys

from skipthink_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["rechunk", *sys.argv[1:]]))
