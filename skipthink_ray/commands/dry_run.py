"""`--dry-run`: print what a command would do, and do nothing."""

from collections.abc import Sequence

import yaml

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import stages_of
from skipthink_ray.pipeline import open_run


def dry_run(configs: Sequence[PipelineConfig]) -> int:
    """Print configurations and the state of their stages. Raises ValueError if a run would be refused.

    A run is refused if its folder belongs to something else.
    """
    faults = [fault for config in configs for fault in _dry_run(config)]
    if faults:
        raise ValueError("; ".join(faults))
    return 0


def _dry_run(config: PipelineConfig) -> list[str]:
    """The reasons why the run would be refused."""
    current, faults = open_run(config), list[str]()
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    try:
        current.refuse_other_folders()
    except ValueError as error:
        faults.append(str(error))
    for name in stages_of(config):
        print(f"{name:<11} {'done' if current.is_done(name) else 'to do'}")
    if config.rationales.teacher.kind != "given":
        from skipthink_ray.teacher.estimate import estimate

        print(estimate(config))
    return faults
