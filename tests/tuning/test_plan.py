"""A space and some tasks become trials; equal trials are one, and more samples add to the same ones."""

import pytest
import yaml

from skipthink_ray.commands.tune import plan_sweep
from skipthink_ray.presets import PRESETS
from skipthink_ray.tuning.plan import check_draws, plan_trials
from skipthink_ray.tuning.space import Space, read_space

TASKS = ("multiarith", "svamp")


def _bases():
    return [PRESETS["tiny"]().model_copy(update={"task": task}) for task in TASKS]


def _names(samples: int, space: Space) -> list[str]:
    return [trial.name for trial in plan_trials("sweep", _bases(), space, samples)]


def test_more_samples_give_the_same_trials_and_one_more_per_task():
    _, space = read_space("chunks")
    few, more = _names(2, space), _names(3, space)
    assert len(few) == 4
    assert len(more) == 6
    assert {*few} < {*more}
    assert _names(2, space) == few


def test_a_trial_answers_dev_questions_and_shares_rationales_samples_and_base():
    from skipthink_ray.identity import identify

    _, space = read_space("chunks")
    trials = [trial for trial in plan_trials("sweep", _bases(), space, 4) if trial.task == "multiarith"]
    assert {trial.config.evaluation.split for trial in trials} == {"dev"}
    identities = [identify(trial.config) for trial in trials]
    for stage in ("rationales", "samples", "base"):
        assert all(one[stage] == identities[0][stage] for one in identities), stage
    assert len({trial.key for trial in trials}) == len({trial.config.name for trial in trials}) == 4


@pytest.mark.parametrize(
    ("draw", "made"),
    [
        ({"cwt.optim.lr": [1e-3, 2e-3]}, {"rationales": 1, "samples": 1, "base": 1, "cwt": 2}),
        ({"cwt.num_chunks": [2, 3, 4], "seed": [0, 1]}, {"rationales": 1, "samples": 2, "base": 2, "cwt": 6}),
        ({"skips.judge": ["reading", "writing"]}, {"base": 1, "cwt": 1, "skips": 2}),
    ],
)
def test_trials_share_every_artifact_that_does_not_depend_on_their_draw(draw, made):
    from skipthink_ray.identity import identify

    choices = {key: {"choice": values} for key, values in draw.items()}
    space = Space.model_validate({"draw": choices, "search": {"kind": "grid"}})
    tiny = PRESETS["tiny"]()  # it sets `updates`, so base trains as long for every M
    base = tiny.model_copy(update={"rationales": tiny.rationales.model_copy(update={"seed": 0})})
    identities = [identify(trial.config) for trial in plan_trials("sweep", [base], space, 6)]
    assert {stage: len({str(one[stage]) for one in identities}) for stage in made} == made


def test_equal_draws_are_one_trial_and_a_small_space_ends():
    space = Space.model_validate({"draw": {"skips.skippable": {"choice": ["any", "interior"]}}})
    assert len(_names(5, space)) == 2 * len(TASKS)


def test_a_key_that_is_not_set_does_not_distinguish_trials():
    draw = {
        "cwt.search.method": {"choice": ["average"]},
        "cwt.search.eta_nats": {"uniform": [0.1, 0.5], "when": {"cwt.search.method": ["greedy"]}},
    }
    assert len(_names(4, Space.model_validate({"draw": draw}))) == len(TASKS)


def test_a_default_of_the_space_gives_way_to_the_preset():
    space = Space.model_validate(
        {"defaults": {"updates": 1000, "cwt.epochs": 7}, "draw": {"cwt.num_chunks": {"int": [2, 4]}}}
    )
    trial = plan_trials("sweep", _bases(), space, 1)[0]
    assert PRESETS["tiny"]().updates == trial.config.updates == 20
    assert trial.config.cwt.epochs == 7


@pytest.mark.parametrize(
    ("draw", "fault"),
    [
        ({"cwt.num_chunks": {"choice": [0, 4]}}, r"the space: cwt\.num_chunks: .*greater than or equal to 1"),
        (
            {"skips.judge": {"choice": ["reading", "wrting"]}},
            r"the space: skips\.judge: .*'wrting'",
        ),
        ({"cwt.batch_size": {"int": [8, 8]}, "cwt.epochs": {"int": [-1, 3]}}, r"the space: cwt\.epochs"),
    ],
)
def test_a_draw_that_is_not_valid_is_refused_before_the_first_trial(draw, fault):
    with pytest.raises(ValueError, match=fault):
        check_draws(_bases()[0], Space.model_validate({"draw": draw}))


def test_a_sweep_chooses_by_direct_answers_only_if_every_draw_trains_their_student():
    space = Space.model_validate(
        {"draw": {"icot.removal": {"choice": ["stepwise", "all"]}}, "choose": {"mode": "direct"}}
    )
    check_draws(_bases()[0], space)
    without = Space.model_validate({"draw": {"cwt.epochs": {"int": [1, 2]}}, "choose": {"mode": "direct"}})
    with pytest.raises(ValueError, match=r"choose\.mode: 'direct' needs the stage icot, which is off"):
        check_draws(_bases()[0], without)


def test_a_sweep_over_toys_without_dev_questions_is_refused():
    _, space = read_space("chunks")
    with pytest.raises(ValueError, match=r"hold some out with --rationales\.dev-share"):
        plan_sweep("toys", "chunks", space, [PRESETS["toy"]()], 1)


def test_the_command_prints_the_same_keys_twice_and_starts_no_ray(tmp_path, capsys):
    from skipthink_ray.cli import main

    words = ["tune", "chunks", "--tasks", ",".join(TASKS), "--samples", "2", "--preset", "tiny"]
    screens = []
    for _ in range(2):
        assert main([*words, "--dry-run", "--storage-path", str(tmp_path)]) == 0
        screens.append(capsys.readouterr().out)
    import ray

    assert screens[0] == screens[1]
    assert len(screens[0].splitlines()) == 4
    assert main([*words[:2], "--tasks", "svamp,svamp", *words[4:], "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert all(line.endswith("to do") for line in screens[0].splitlines())
    assert not ray.is_initialized()
    assert not [*tmp_path.iterdir()]


def test_a_users_own_space_works_alike(tmp_path, capsys):
    from skipthink_ray.cli import main

    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"draw": {"stt.skip_share": {"choice": [0.25, 0.5]}}}))
    assert main(["tune", str(file), "--preset", "tiny", "--dry-run", "--storage-path", str(tmp_path)]) == 0
    assert "stt.skip_share=0.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "name a space"),
        (["chunks", "--samples", "0"], "--samples: 0 trials per task"),
        (["chunks", "--tasks", "multiarit"], "did you mean 'multiarith'"),
        (["chunks", "--task", "x"], "x"),
    ],
)
def test_wrong_words_are_refused(words, fault, capsys):
    from skipthink_ray.cli import main

    assert main(["tune", *words, "--preset", "tiny", "--dry-run"]) == 2
    assert fault in capsys.readouterr().err
