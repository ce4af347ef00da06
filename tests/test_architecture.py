"""Enforces the architecture rules: layers, sizes, shipped files."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from skipthink_ray import cli
from skipthink_ray.identity import STAGES
from skipthink_ray.presets import PRESETS
from skipthink_ray.settings import load_config

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skipthink_ray"
MODULES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (
    ("config", "rows"),
    ("runtime",),
    ("method", "tasks"),
    ("models", "presets", "options", "settings"),
    ("data", "teacher"),
    ("training", "reporting"),
    ("stages", "rechunk"),
    ("identity", "help_sections", "pipeline", "preflight", "making", "side_by_side"),
    ("tuning",),
    ("commands", "lm_eval"),
    ("cli", "plain_commands"),
)
LAYER_OF = {part: number for number, parts in enumerate(LAYERS) for part in parts}
WITHOUT = {
    "method": {"ray", "torch"},
    "config": {"ray", "torch"},
    "rows": {"ray", "torch"},
    "tasks": {"ray"},
    "models": {"ray"},
    "runtime": {"torch"},
    "data": {"torch"},
}
LOOP = ("loop.py", "train")


def _part(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(module):
    part = _part(module)
    for name in _imports(module):
        assert name.split(".")[0] not in WITHOUT.get(part, ()), f"{module.name} imports {name}"
        other = name.split(".")[1] if name.startswith("skipthink_ray.") else part
        if other not in LAYER_OF or part not in LAYER_OF or other == part:
            continue
        assert LAYER_OF[other] <= LAYER_OF[part], (
            f"{module.relative_to(PACKAGE)} imports {name}, which lies above"
        )


def test_the_driver_and_the_workers_of_the_data_stages_import_no_model_code():
    code = (
        "import sys, skipthink_ray.making, skipthink_ray.training.launch; "
        "import skipthink_ray.stages.rationales, skipthink_ray.stages.samples; "
        "print({'torch', 'transformers', 'openai', 'deepspeed'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "set()\n", done.stdout + done.stderr


def test_all_programs_beside_the_package_import():
    """Nothing else notices a benchmark that uses a name which the package no longer has."""
    modules = [
        f"{folder}.{file.stem}"
        for folder in ("benchmarks", "tools", "jobs")
        for file in sorted((ROOT / folder).glob("*.py"))
    ]
    assert len(modules) > 30
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], capture_output=True, text=True, timeout=300, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_every_part_has_a_layer():
    assert {_part(module) for module in MODULES} - {"__init__"} == LAYER_OF.keys()


def test_no_stage_imports_another_stage():
    for module in (PACKAGE / "stages").glob("*.py"):
        if module.stem == "table":
            continue
        stages = {f"skipthink_ray.stages.{name}" for name in STAGES if name != module.stem}
        assert not stages & _imports(module), module.name


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_small_and_modules_are_documented(module):
    text = module.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(tree), "no module docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            ceiling = 80 if (module.name, node.name) == LOOP else 50
            assert (node.end_lineno or 0) - node.lineno + 1 <= ceiling, node.name


def test_the_guided_walk_is_short():
    walk = (ROOT / "CONTRIBUTING.md").read_text().partition("### A guided walk")[2].partition("\n## ")[0]
    files = [PACKAGE / name for name in re.findall(r"^\d+\. `(\S+)`:", walk, re.MULTILINE)]
    assert files[0].name == "cli.py"
    assert files[-1].name == "engine.py"
    assert len(files) <= 20
    assert sum(len(file.read_text().splitlines()) for file in files) <= 2500


def test_the_command_line_knows_the_stages_and_presets_of_the_pipeline():
    assert tuple(STAGES) == cli.STAGES
    assert tuple(PRESETS) == cli.PRESETS


def test_every_command_that_uses_a_cluster_has_a_job():
    jobs = {file.stem: file.read_text() for file in (ROOT / "jobs").glob("*.py") if file.stem != "__init__"}
    assert set(jobs) == {"pipeline", "look", "rechunk", "tune", "ablate", *cli.STAGES}
    for name, text in jobs.items():
        assert f'main(["{"run" if name == "pipeline" else name}", *' in text
        assert f"python -m jobs.{name} " in text


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_config_loads(file):
    assert load_config("default", str(file), []).name == yaml.safe_load(file.read_text())["name"]
