"""Secrets planted in the environment of a whole run with a real teacher and a real MLflow server.

None may lie in any file that the run, Ray or the server writes, or in what the run prints.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.servers import free_ports, mlflow_server
from tests.teachers import MODEL, serve
from tests.test_teacher import questions

TEACHER, PASSWORD, CLOUD = "planted-teacher-key", "planted-mlflow-password", "planted-cloud-secret"


def files_with(folder: Path, secret: str) -> list[str]:
    """The files below a folder that contain a secret. Parquet files are read, because they are compressed."""
    needle, found = secret.encode(), list[str]()
    for file in folder.rglob("*"):
        if file.is_file():
            packed = file.suffix == ".parquet"
            content = str(pq.read_table(file).to_pylist()).encode() if packed else file.read_bytes()
            found += [str(file)] if needle in content else []
    return found


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_planted_secrets_are_in_no_file_and_no_output_of_a_whole_run(tmp_path: Path):
    file, storage = questions(tmp_path / "questions.jsonl", 30), tmp_path / "runs"
    ray_folder = Path(mkdtemp(prefix="ray", dir="/tmp"))  # paths of Ray's sockets must be short
    server_folder = tmp_path / "server"
    server_folder.mkdir()
    with serve() as teacher, mlflow_server(server_folder, free_ports(1)[0]) as uri:
        options = f"""
            --preset tiny --storage-path {storage} --updates 4 --report.samples 4
            --rationales.source file --rationales.path {file} --rationales.teacher.kind endpoint
            --rationales.teacher.model {MODEL} --rationales.teacher.prompt zero_shot
            --endpoint.url {teacher.url} --endpoint.key-variable PLANTED_KEY
        """
        done = subprocess.run(
            [sys.executable, "-m", "skipthink_ray.cli", "run", *options.split()],
            env={
                **os.environ,
                "PLANTED_KEY": TEACHER,
                "MLFLOW_TRACKING_URI": uri.replace("http://", f"http://someone:{PASSWORD}@"),
                "AWS_SECRET_ACCESS_KEY": CLOUD,
                "RAY_TMPDIR": str(ray_folder),
            },
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert any(TEACHER in str(headers) for headers in teacher.headers_seen), "the key was really used"
    report = json.loads((storage / "tiny/report/report.json").read_text())
    assert report["modes"]
    assert yaml.safe_load((storage / "tiny/run.json").read_text())["config"]["endpoint"]["url"] == teacher.url
    for secret in (TEACHER, PASSWORD, CLOUD):
        assert secret not in done.stdout + done.stderr
        for folder in (storage, server_folder, ray_folder):
            assert files_with(folder, secret) == []
    logs = [*ray_folder.rglob("*.log")]
    assert len(logs) > 5, "Ray's own logs were searched too"
    shutil.rmtree(ray_folder)
