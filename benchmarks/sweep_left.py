"""Prints as JSON what a sweep left on a Ray cluster: placement groups that are not removed, and CPUs in use.

bench_sweep.py runs it after a sweep: `python -m benchmarks.sweep_left ADDRESS`.
"""

import json
import sys
import time

import ray
from ray.util import placement_group_table

SETTLE_S = 10
"""Ray frees the CPUs of a process that has just ended within this time."""


def main() -> None:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="error")
    deadline = time.monotonic() + SETTLE_S
    while (cpus := _cpus_in_use()) and time.monotonic() < deadline:
        time.sleep(0.5)
    groups = [group["name"] for group in placement_group_table().values() if group["state"] != "REMOVED"]
    print(json.dumps({"placement_groups": groups, "cpus": cpus}))


def _cpus_in_use() -> float:
    return ray.cluster_resources().get("CPU", 0.0) - ray.available_resources().get("CPU", 0.0)


if __name__ == "__main__":
    main()
