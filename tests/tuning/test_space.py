"""Search spaces: what they draw, and which faults are named before the first trial."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from skipthink_ray.config import PipelineConfig
from skipthink_ray.presets import PRESETS
from skipthink_ray.tuning.plan import settings
from skipthink_ray.tuning.space import read_space

SPACES = sorted(file.stem for file in (Path(__file__).parents[2] / "tune_spaces").glob("*.yaml"))
DRAW = {
    "cwt.num_chunks": {"int": [2, 4]},
    "cwt.search.method": {"choice": ["average", "greedy"]},
    "cwt.search.eta_nats": {"loguniform": [0.01, 1.0], "when": {"cwt.search.method": ["greedy"]}},
}


def _write(tmp_path: Path, **values: Any) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def _space(tmp_path: Path, **changes: Any):
    return read_space(str(_write(tmp_path, **{"draw": DRAW, **changes})))[1]


def test_the_shipped_spaces_are_those_that_the_docs_name():
    assert SPACES == ["ablations", "annealing", "chunks", "cwt", "full", "skips"]


@pytest.mark.parametrize("name", SPACES)
def test_a_thousand_draws_of_every_shipped_space_are_valid_and_differ(name):
    _, space = read_space(name)
    drawn = [*space.listed()] if space.arms else [space.sample(number) for number in range(1000)]
    configs = [settings(PRESETS["toy"](), space, one) for one in drawn]
    assert all(isinstance(config, PipelineConfig) for config in configs)
    assert len({repr(one) for one in drawn}) >= 8
    for key in space.draw:
        assert any(key in one for one in drawn), f"{key} is never drawn"


def test_draws_lie_in_their_ranges_and_conditions_hold(tmp_path):
    space = _space(tmp_path)
    drawn = [space.sample(number) for number in range(500)]
    assert {one["cwt.num_chunks"] for one in drawn} == {2, 3, 4}
    etas = [one["cwt.search.eta_nats"] for one in drawn if one["cwt.search.method"] == "greedy"]
    assert all(0.01 <= eta <= 1.0 for eta in etas)
    assert 0.4 < sum(eta < 0.1 for eta in etas) / len(etas) < 0.6, "the logarithm is uniform"
    assert all("cwt.search.eta_nats" not in one for one in drawn if one["cwt.search.method"] == "average")


def test_another_seed_gives_other_draws(tmp_path):
    first, same, other = (_space(tmp_path, search={"seed": seed}) for seed in (3, 3, 4))
    assert [first.sample(number) for number in range(20)] == [same.sample(number) for number in range(20)]
    assert [first.sample(number) for number in range(20)] != [other.sample(number) for number in range(20)]


def test_a_grid_has_every_combination(tmp_path):
    draw = {key: DRAW[key] for key in ("cwt.num_chunks", "cwt.search.method")}
    cells = [*_space(tmp_path, draw=draw).listed()]
    assert len(cells) == 6
    assert {"cwt.num_chunks": 3, "cwt.search.method": "greedy"} in cells


def test_a_continuous_range_has_no_grid(tmp_path):
    with pytest.raises(ValueError, match=r"cwt\.search\.eta_nats: a grid needs choice or int"):
        list(_space(tmp_path).listed())


def test_arms_are_trials_by_name_and_exclude_draws(tmp_path):
    arms = {"as configured": {}, "all": {"skips.search": "all"}}
    space = read_space(str(_write(tmp_path, arms=arms)))[1]
    assert [*space.listed()] == [{}, {"skips.search": "all"}]
    with pytest.raises(ValueError, match="give either draw or arms"):
        _space(tmp_path, arms=arms)
    with pytest.raises(ValueError, match=r"skips\.serch: unknown key; did you mean 'skips\.search'"):
        read_space(str(_write(tmp_path, arms={"all": {"skips.serch": "all"}})))


@pytest.mark.parametrize(
    ("draw", "fault"),
    [
        (
            {"cwt.num_chunk": {"int": [2, 4]}},
            r"cwt\.num_chunk: unknown key; did you mean 'cwt\.num_chunks'\?",
        ),
        ({"cwt": {"choice": [1]}}, r"cwt: unknown key"),
        ({"cwt.num_chunks": [2, 4]}, r"draw\.cwt\.num_chunks: write how it is drawn, as in \{int"),
        ({"cwt.num_chunks": {"ints": [2, 4]}}, r"draw\.cwt\.num_chunks\.ints: unknown key"),
        ({"cwt.num_chunks": {"int": [4, 2]}}, r"the range \[4, 2\] is empty"),
        ({"cwt.num_chunks": {"int": [2, 4], "choice": [2]}}, "exactly one of int"),
        ({"cwt.optim.lr": {"loguniform": [0.0, 1.0]}}, r"draw\.cwt\.optim\.lr\.loguniform"),
        ({"cluster.num_workers": {"choice": [1, 2]}}, r"cluster\.num_workers: this key does not change"),
        ({"evaluation.split": {"choice": ["test"]}}, r"evaluation\.split: this key does not change"),
        (
            {"cwt.search.eta_nats": DRAW["cwt.search.eta_nats"]},
            r"its condition cwt\.search\.method must be drawn before it",
        ),
        ({}, "give either draw or arms"),
    ],
)
def test_faults_name_the_file_and_the_key(tmp_path, draw, fault):
    with pytest.raises(ValueError, match=fault) as error:
        _space(tmp_path, draw=draw)
    assert "mine.yaml" in str(error.value)


def test_an_unknown_space_is_answered_with_the_nearest_one():
    with pytest.raises(ValueError, match="unknown space 'chunk'; did you mean 'chunks'"):
        read_space("chunk")
    with pytest.raises(ValueError, match=r"there are ablations, annealing, chunks, .*, or name a \.yaml"):
        read_space("xyz")
    with pytest.raises(ValueError, match=r"cannot read missing\.yaml"):
        read_space("missing.yaml")
