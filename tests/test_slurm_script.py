"""deploy/slurm.sbatch, run by bash with stand-ins for Slurm and Ray that write down how they were called.

The stand-in of srun runs the command on this machine. That of `ray start` waits for SIGTERM, as Ray does.
"""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": 'echo "$@" >> "$LOG/scontrol"',
    "ray": '[[ $1 == start ]] || exit 0; echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN $@" >> "$LOG/ray"; $RAY',
    "python": 'case "$1 $2" in'
    '  "-c import ray"*) echo 127.0.0.1 ;;'
    '  "-c import secrets"*) exec python3 "$@" ;;'
    '  "- 2") eval "$JOINED" ;;'
    '  "-m jobs.pipeline") echo "$RAY_ADDRESS $RAY_AUTH_TOKEN ${@:3}" > "$LOG/run"; eval "$RUN" ;;'
    "esac",
}
JOINED = 'until [[ $(wc -l < "$LOG/ray") == 2 ]]; do sleep 0.05; done'
WAITS = 'trap "exit 143" TERM; for i in {1..100}; do sleep 0.1; done; exit 5'


@pytest.fixture
def start(tmp_path):
    """Starts the script on two nodes.

    `run` is what the run does, `ray` what each of Ray's processes does, `joined` the wait for all nodes.
    """
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, text in STAND_INS.items():
        file = tmp_path / ".venv" / "bin" / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)

    def begin(run: str, ray: str = "exec sleep 1234", joined: str = JOINED) -> subprocess.Popen[str]:
        slurm = {
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_ID": f"{os.getpid()}",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURMD_NODENAME": "first",
            "SLURM_CPUS_ON_NODE": "8",
        }
        return subprocess.Popen(
            ["bash", ROOT / "deploy" / "slurm.sbatch", "--name", "two words"],
            env={**os.environ, **slurm, "LOG": str(tmp_path), "RUN": run, "RAY": ray, "JOINED": joined},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return begin


def _left(process: subprocess.Popen[str]) -> str:
    """The processes that the script has left."""
    return subprocess.run(["pgrep", "-s", str(process.pid)], capture_output=True, text=True).stdout


def _until_written(file: Path) -> None:
    deadline = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < deadline, f"no {file.name}"
        time.sleep(0.05)


@pytest.mark.parametrize("code", [0, 3])
def test_the_job_ends_with_the_exit_code_of_the_run_and_leaves_no_process(start, code, tmp_path):
    process = start(f"exit {code}")
    assert process.wait(30) == code
    assert _left(process) == ""
    assert not (tmp_path / "scontrol").exists()


def test_all_processes_share_one_secret_token_and_only_the_environment_has_it(start, tmp_path):
    assert start("exit 0").wait(30) == 0
    address, token, *options = (tmp_path / "run").read_text().split()
    assert options == ["--name", "two", "words"]
    head, worker = sorted((tmp_path / "ray").read_text().splitlines(), key=lambda line: "--address" in line)
    for line in (head, worker):
        mode, token_of_node, arguments = line.split(maxsplit=2)
        assert (mode, token_of_node) == ("token", token)
        assert token not in arguments
        assert "--num-cpus=8" in arguments
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert f"--address={address}" in worker
    assert "--head --node-ip-address=127.0.0.1 --port=" + address.partition(":")[2] in head


@pytest.mark.parametrize(("sent", "requeued"), [(signal.SIGTERM, False), (signal.SIGUSR1, True)])
def test_a_signal_ends_the_run_with_sigterm_and_only_the_time_limit_queues_it_again(
    start, sent, requeued, tmp_path
):
    process = start(WAITS)
    _until_written(tmp_path / "run")
    time.sleep(0.3)
    process.send_signal(sent)
    assert process.wait(30) == 143
    assert _left(process) == ""
    assert (tmp_path / "scontrol").exists() == requeued


def test_a_node_that_does_not_start_ends_the_job_at_once(start, tmp_path):
    process = start("exit 0", ray="exit 7", joined="exec sleep 25")
    assert process.wait(10) == 7
    assert not (tmp_path / "run").exists()
    assert _left(process) == ""
