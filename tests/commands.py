"""Runs of the command line in tests."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def run_stages(storage: Path, options: list[str], *stages: str) -> str:
    """Run stages one after another, each as a command of its own. Returns what the last one printed."""
    printed = ""
    for stage in stages:
        command = [sys.executable, "-m", "skipthink_ray.cli", stage, "--storage-path", str(storage), *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stdout + done.stderr
        printed = done.stdout
    return printed
