"""Stages that tests run one after another."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

CODE = """
import sys
from rich.console import Console
from skipthink_ray.pipeline import run
from skipthink_ray.settings import load_config

for stage in sys.argv[1].split():
    run(load_config("default", None, sys.argv[2:]), Console(width=120), "a test", [stage])
"""


def run_stages(storage: Path, options: list[str], *stages: str) -> str:
    """Run stages one after another on one Ray cluster, in a process of its own. Returns what they printed."""
    command = stages_command(storage, options, *stages)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stages_command(storage: Path, options: list[str], *stages: str) -> list[str]:
    return [sys.executable, "-c", CODE, " ".join(stages), "--storage-path", str(storage), *options]
