"""The command line: every spelling of an option, its help, and the nearest name for a mistyped one."""

import subprocess
import sys

import pytest

from skipthink_ray.cli import COMMANDS, CONFIGURED, STAGES, main
from skipthink_ray.config import IcotConfig, PipelineConfig
from skipthink_ray.config.rechunk import RechunkConfig
from skipthink_ray.help_sections import sections
from skipthink_ray.identity import EXECUTION, identify
from skipthink_ray.options import known_keys
from skipthink_ray.settings import load_config
from tests.conftest import ROOT

OPTIONS = [
    key
    for key in known_keys(PipelineConfig)
    if not any(k.startswith(f"{key}.") for k in known_keys(PipelineConfig))
]


def _help(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def _name(key: str) -> str:
    return f"  --{key.replace('_', '-')}"


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--cwt.optim.lr", "1e-4"], "cwt.optim.lr", 1e-4),
        (["--cwt.optim.lr=1e-4"], "cwt.optim.lr", 1e-4),
        (["--rationales.train-questions", "240"], "rationales.train_questions", 240),
        (["--rationales.train_questions", "240"], "rationales.train_questions", 240),
        (["--rationales.train_questions=240"], "rationales.train_questions", 240),
        (["--cluster.use-gpu"], "cluster.use_gpu", True),
        (["--cluster.use_gpu", "--cluster.no_use_gpu"], "cluster.use_gpu", False),
        (["--rationales.filters.no-refusals"], "rationales.filters.refusals", False),
        (["--cluster.zero-stage", "3"], "cluster.zero_stage", 3),
        (["--cluster.cpus-per-worker", "2"], "cluster.cpus_per_worker", 2.0),
        (["--cwt.num-chunks", "auto"], "cwt.num_chunks", "auto"),
        (["--cwt.num-chunks", "5"], "cwt.num_chunks", 5),
        (["--cwt.num-chunks", "None"], "cwt.num_chunks", None),
        (["--cwt.optim.marker-lr-stds", "None"], "cwt.optim.marker_lr_stds", None),
        (["--student.pretrained", "None"], "student.pretrained", None),
        (["--name", "None"], "name", "None"),
        (["--name", "7"], "name", "7"),
        (["--own-task.pattern", "is (.+)", "--task", "mine"], "own_task.pattern", "is (.+)"),
        (["--samples.answer-format", "--> {answer}"], "samples.answer_format", "--> {answer}"),
        (["--rationales.path=a_b=c-d"], "rationales.path", "a_b=c-d"),
        (["--seed", "1", "--seed", "2"], "seed", 2),
    ],
)
def test_an_option_sets_its_key(words, key, value):
    source = [] if "rationales.path" not in key else ["--rationales.source", "file"]
    if "own_task" in key:
        source = ["--rationales.source", "file", "--rationales.path", "x.jsonl"]
    found = load_config("default", None, [*words, *source])
    for part in key.split("."):
        found = getattr(found, part)
    assert (found, type(found)) == (value, type(value))


def test_options_override_the_file_and_the_file_the_preset(tmp_path):
    (tmp_path / "run.yaml").write_text("cwt: {epochs: 3, batch_size: 4}")
    config = load_config("toy", str(tmp_path / "run.yaml"), ["--cwt.epochs", "5"])
    assert (config.cwt.epochs, config.cwt.batch_size, config.cwt.optim.lr) == (5, 4, 5e-3)


@pytest.mark.parametrize("command", CONFIGURED)
def test_the_help_has_every_key_once_after_the_options_of_the_command(capsys, command):
    shown = _help(capsys, command)
    starts = [line.split(",")[0].split(" ", 3)[2] for line in shown.splitlines() if line.startswith("  --")]
    others = {"look": ["--json"], "tune": ["--tasks", "--samples"], "ablate": ["--tasks"]}
    own = ["--preset", "--config", "--dry-run", *others.get(command, [])]
    assert starts[: len(own)] == own
    assert sorted(starts[len(own) :]) == sorted(_name(key).strip() for key in OPTIONS)
    assert max(map(len, shown.splitlines())) <= 100
    assert "None (default" not in shown


@pytest.mark.parametrize("stage", STAGES)
def test_the_help_of_a_stage_begins_with_the_keys_that_decide_it(stage):
    found = {section.title: set(section.fields) for section in sections(stage)}
    fields = [field for section in sections(stage) for field in section.fields]
    assert sorted(fields) == sorted(PipelineConfig.model_fields)
    config = PipelineConfig(icot=IcotConfig(removal="all"))  # so that every stage is on
    own = set(identify(config)[stage]["config"])
    assert (
        found[f"keys of {stage}"]
        <= own
        <= found[f"keys of {stage}"] | found.get("keys of other stages", set())
    )
    assert set(EXECUTION) <= found["where and how it runs"]


def test_the_keys_that_a_stage_does_not_read_come_last(capsys):
    places = [
        _help(capsys, "cwt").index(f"\n{_name(key)} ")
        for key in ("cwt.epochs", "cluster.address", "skips.folds")
    ]
    assert places == sorted(places)


def test_the_help_shows_types_choices_and_the_defaults_of_preset_and_file(capsys, tmp_path):
    (tmp_path / "run.yaml").write_text("cwt: {epochs: 3}")
    shown = _help(capsys, "demo", "--config", str(tmp_path / "run.yaml"))
    for line in (
        "--cwt.search.method average|greedy|annealed|optimal",
        "--cwt.num-chunks INT|auto|steps|None",
        "--cluster.use-gpu, --cluster.no-use-gpu",
        "--cwt.epochs INT",
    ):
        assert f"  {line}\n" in shown
    place = shown.index("--cwt.epochs INT")
    assert "(default: 3)" in shown[place : shown.index("--cwt.batch-size")]
    assert "(default: 0.005)" in shown[shown.index("--cwt.optim.lr ") : shown.index("--cwt.optim.schedule")]
    assert "(default: off)" in shown[shown.index("--cluster.use-gpu") : shown.index("--cluster.cpus")]


def test_the_help_of_rechunk_names_its_options_by_their_last_part(capsys):
    shown = _help(capsys, "rechunk")
    for key in known_keys(RechunkConfig):
        if key != "search":
            assert f"\n{_name(key.removeprefix('search.'))} " in shown


def test_the_overview_has_every_command(capsys):
    assert main(["--help"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "] == list(
        COMMANDS
    )


@pytest.mark.parametrize("words", [["--help"], ["cwt", "--help"], ["rechunk", "--help"], ["ask", "--help"]])
def test_help_loads_nothing_slow(words):
    code = (
        "import sys\nfrom skipthink_ray.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "slow = {'ray', 'torch', 'transformers', 'pyarrow', 'pandas', 'mlflow', 'rich'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("run --dryrun", "--dryrun: unknown option; did you mean '--dry-run'?"),
        ("run --confg x", "--confg: unknown option; did you mean '--config'?"),
        ("run --optons", "--optons: unknown option; `skipthink run --help` lists all"),
        (
            "cwt --cwt.serch.method greedy",
            "--cwt.serch.method: unknown option; did you mean '--cwt.search.method'?",
        ),
        (
            "run --cwt.serch_method=greedy",
            "--cwt.serch_method: unknown option; did you mean '--cwt.search.method'?",
        ),
        (
            "run --lr 1",
            "--lr: unknown option; did you mean '--base.optim.lr', '--cwt.optim.lr' or '--stt.optim.lr'?",
        ),
        ("prune --delet", "--delet: unknown option; did you mean '--delete'?"),
        ("prune --seed 1", "--seed: unknown option; `skipthink prune --help` lists all"),
        ("ask --studnt x why", "--studnt: unknown option; did you mean '--student'?"),
        ("rechunk --methd greedy", "--methd: unknown option; did you mean '--method'?"),
        ("cwwt", "unknown command 'cwwt'; did you mean 'cwt'?"),
        ("rechunks", "unknown command 'rechunks'; did you mean 'rechunk'?"),
        ("qqq", "unknown command 'qqq'; `skipthink --help` lists all"),
        ("", "name a command; `skipthink --help` lists all"),
        ("--seed 1 run", "--seed: the command comes first, as in `skipthink run --seed`"),
        ("--hlep", "--hlep: unknown option; did you mean '--help'?"),
        ("run now", "unexpected argument 'now'"),
        ("run --cluster.use-gpu=true", "--cluster.use-gpu=true: a switch takes no value"),
        ("run --seed", "argument --seed: expected one argument"),
        ("run --seed x", "seed: input should be a valid integer"),
        (
            "run --cwt.search.method best",
            "input should be 'average', 'greedy', 'annealed' or 'optimal' (found 'best')",
        ),
        (
            "run --cwt.num-chunks 0",
            "cwt.num_chunks: input should be greater than or equal to 1 (found 0)",
        ),
        ("rechunk --student a", "the following arguments are required: --samples, --out"),
    ],
)
def test_a_mistake_ends_in_one_line_that_says_what_exists(capsys, words, error):
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert error in said
    assert len(said.strip().splitlines()) == 1
