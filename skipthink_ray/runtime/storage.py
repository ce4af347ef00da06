"""Storage that every process of the cluster sees at the same address."""

import os
from pathlib import Path

from skipthink_ray.runtime.job import JOB


def absolute(path: str, key: str) -> str:
    """The path as every process must use it: absolute, or a URI.

    Raises ValueError, with the configuration's `key`, for a relative path in a Ray job: its working directory
    is a temporary copy on one node.
    """
    if "://" in path:
        return path
    expanded = Path(path).expanduser()
    if JOB in os.environ and not expanded.is_absolute():
        option = f"--{key.replace('_', '-')}"
        raise ValueError(
            f"{key}: '{path}' is relative, and the working directory of a Ray job is a temporary copy on one "
            f"node. Pass a place that every node can reach: {option} s3://BUCKET/{expanded.name}, or an "
            f"absolute path on a shared file system, such as {option} /mnt/shared/{expanded.name}"
        )
    return os.path.abspath(expanded)
