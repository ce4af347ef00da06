"""How a command ends whose folder another process has taken over."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

CODE = """
import sys, time
from skipthink_ray.config import PipelineConfig
from skipthink_ray.runtime import lock
from skipthink_ray.runtime.artifacts import LOCK, Folder
from skipthink_ray.runtime.logged import logged

lock.REFRESH_S = 0.05
config = PipelineConfig(storage_path=sys.argv[1])
folder = Folder.open(sys.argv[1]).child(config.name)

def work(console):
    with lock.only_writer(folder):
        folder.write_json(LOCK, {"host": "elsewhere", "pid": 1, "id": "1", "name": "run", "job": None})
        time.sleep(60)

sys.exit(logged(config, work))
"""


def test_a_superseded_command_ends_at_once_and_says_why(tmp_path: Path):
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "skipthink: failed:" in done.stdout
    assert "process 1 on elsewhere took over" in " ".join(done.stdout.split())
    assert "terminated" not in done.stdout
