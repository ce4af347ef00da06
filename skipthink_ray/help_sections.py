"""The order of the configuration keys in the help of a command: first those that the command reads."""

from collections.abc import Collection

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import EXECUTION, STAGES, visible
from skipthink_ray.options import Section

LIKE = {"look": "samples"}
"""Commands that read the same keys as a stage."""
ALSO = {"look": ("cwt",)}
"""Further keys that a command depends on: look says which M a run would take."""
SEED = "seed"
"""A key that every stage depends on. The stage rationales reads it as its own seed."""
KEYS = "Every configuration key is an option: `--cwt.epochs 2` is `cwt: {epochs: 2}` in a YAML file."
WHERE = (
    "These keys change results only by rounding and the random draws of dropout. "
    "They may change when a run continues."
)


def sections(command: str) -> list[Section]:
    """All keys, each in one section."""
    stage = LIKE.get(command, command)
    if stage not in STAGES:
        return [
            Section("the run", KEYS, _without(EXECUTION)),
            Section("where and how it runs", WHERE, EXECUTION),
        ]
    own, seen = STAGES[stage].fields, vars(visible(stage, PipelineConfig()))
    where = [field for field in ("name", *EXECUTION) if field not in own]
    read = {*own, *where, *seen, SEED, *ALSO.get(command, ())}
    others = [field for field in PipelineConfig.model_fields if field in read - {*own, *where}]
    ordered = [
        Section(f"keys of {command}", KEYS, own),
        Section("keys of other stages", f"The result of {command} depends on them too.", others),
        Section("where and how it runs", WHERE, where),
        Section("other keys", f"The result of {command} does not depend on them.", _without(read)),
    ]
    return [section for section in ordered if section.fields]


def _without(names: Collection[str]) -> list[str]:
    return [field for field in PipelineConfig.model_fields if field not in names]
