"""benchmarks/bench_training.py: its arms make the same updates, and it refuses one that does not."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from benchmarks.bench_training import RESULTS, choose
from benchmarks.document import table_names
from benchmarks.evidence import finished
from benchmarks.training_arms import ARMS, literal, ours
from benchmarks.training_clock import PHASES, Clock
from benchmarks.training_peers import hf
from benchmarks.training_plan import Plan, Setting, make_plan
from benchmarks.training_run import TOLERANCE, Disagreement, check_losses
from benchmarks.training_table import fill, numbers, useful_flops
from skipthink_ray.models.student import load_student

DOCUMENT = Path(__file__).parents[1] / "docs" / "speed.md"
SETTING = Setting(batch_size=4, warmup=2, updates=2)


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    return make_plan(tmp_path_factory.mktemp("plan"), SETTING)


def _record(run, plan: Plan, arm: str) -> dict:
    clock = Clock(plan.setting, launched=0.0)
    run(plan, ARMS[arm], clock)
    return clock.record()


@pytest.fixture(scope="module")
def expected(plan) -> dict:
    return _record(literal, plan, "literal 1x2")


@pytest.mark.parametrize(("run", "arm"), [(ours, "ours ddp 1x2"), (hf, "HF 1x2"), (hf, "HF tuned 1x2")])
def test_an_arm_replays_the_updates_of_the_literal_loop(plan, expected, run, arm):
    found = _record(run, plan, arm)
    assert len(found["losses"]) == SETTING.warmup
    check_losses(arm, found["losses"], expected["losses"], TOLERANCE["fp32"])
    assert found["positions"] == expected["positions"] > 0
    assert set(found["phases_ms"]) == set(PHASES)
    assert all(spent > 0 for spent in found["phases_ms"].values())
    assert sum(found["phases_ms"].values()) * SETTING.updates == pytest.approx(
        1000 * found["seconds"], rel=1e-3
    )


def test_an_arm_that_makes_other_updates_is_refused_by_name(plan, expected):
    other = replace(plan, lr_U=[2 * lr for lr in plan.lr_U])
    losses = _record(literal, other, "literal 1x2")["losses"]
    with pytest.raises(Disagreement, match=r"mine: the loss of update 1 is .* the plan's"):
        check_losses("mine", losses, expected["losses"], TOLERANCE["fp32"])


def test_losses_that_are_missing_or_not_numbers_are_refused():
    with pytest.raises(Disagreement, match="mine: 1 losses"):
        check_losses("mine", [1.0], [1.0, 1.0], 1e-2)
    with pytest.raises(Disagreement, match="mine: the loss of update 1"):
        check_losses("mine", [1.0, float("nan")], [1.0, 1.0], 1e-2)


def test_every_update_of_a_plan_is_whole_and_has_the_learning_rate_of_its_number(plan):
    assert len(plan.items) == SETTING.batch_size * len(plan.lr_U)
    assert len(plan.lr_U) == SETTING.warmup + SETTING.updates
    saved = load_file(plan.folder / "items.safetensors")
    assert saved["tokens"].size == sum(len(item.prompt) + len(item.target) for item in plan.items)


def test_a_damaged_plan_is_noticed(plan, expected, tmp_path):
    """Another token in the items of the literal arm gives other losses."""
    saved = load_file(plan.folder / "items.safetensors")
    saved["tokens"][-1 - int(saved["tokens_I"][SETTING.batch_size :].sum())] = 5
    save_file(saved, tmp_path / "items.safetensors")
    (tmp_path / "student").symlink_to(plan.folder / "student")
    losses = _record(literal, replace(plan, folder=tmp_path), "literal 1x2")["losses"]
    with pytest.raises(Disagreement, match="literal 1x2: the loss of update 0"):
        check_losses("literal 1x2", losses, expected["losses"], TOLERANCE["fp32"])


def test_the_numbers_are_medians_and_rays_cost_is_beside_the_same_arm(plan):
    def repeats(*seconds: float) -> list[dict]:
        phases = dict.fromkeys(PHASES, 1.0)
        one = {"positions": 100, "phases_ms": phases, "peak_bytes": 1 << 30, "checkpoint_s": 1.0, "load": 0.5}
        return [
            one | dict.fromkeys(("seconds", "start_s", "cpu_s"), each) | {"others_share": 0.25}
            for each in seconds
        ]

    records = {
        "literal 1x2": repeats(2, 4, 3),
        "ours ddp 1x2": repeats(1, 1, 9),
        "Ray ddp 1x2": repeats(2, 2, 2),
    }
    found = numbers(plan, load_student(plan.folder / "student").model, records, peak_tflops=None)
    assert found["ours ddp 1x2"]["ratio_to_literal"] == 3
    assert found["ours ddp 1x2"]["ms"] == 500
    assert found["Ray ddp 1x2"]["ray_pct_per_update"] == 100
    assert found["Ray ddp 1x2"]["ray_start_s"] == 1
    assert found["Ray ddp 1x2"]["ray_others_pct"] == 25


def test_useful_operations_count_the_head_at_target_positions_only(plan):
    model = load_student(plan.folder / "student").model
    head, width = model.get_output_embeddings().weight.numel(), model.config.hidden_size
    more_targets = useful_flops(model, [(10, 10)]) - useful_flops(model, [(15, 5)])
    assert more_targets == 6 * head * 5
    one = 6 * model.num_parameters() + 12 * model.config.num_hidden_layers * width
    assert useful_flops(model, [(0, 1)]) == one


def test_arms_that_cannot_run_are_named_and_the_literal_one_is_always_chosen():
    assert choose(["Ray ddp 2x1"], "cuda", "fp32")[1]["Ray ddp 2x1"] == "the arms in Ray are for CPUs"
    assert "fp32 weights" in choose(["ours ZeRO-0 2x1"], "cpu", "bf16")[1]["ours ZeRO-0 2x1"]
    assert [arm.name for arm in choose(["HF 1x2"], "cpu", "fp32")[0]] == ["literal 1x2", "HF 1x2"]


def test_every_table_in_the_document_matches_the_results():
    document = DOCUMENT.read_text()
    command = "python -m benchmarks.bench_training --document docs/speed.md"
    assert fill(document, finished(RESULTS)) == document, command
    assert len(table_names(document, "training")) == document.count("<!-- training ") > 0
