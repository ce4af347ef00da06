"""docs/deploying.md: what it runs without a cloud works, and every option and file that it names exists."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from skipthink_ray.settings import load_config
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SCRIPT_HEAD = (ROOT / "deploy" / "slurm.sbatch").read_text().partition("#SBATCH")[0].replace("\n#", "\n")
RUN = re.compile(r"(?:python -m jobs\.pipeline|deploy/slurm\.sbatch) (--config (?:.*\\\n)*.*)$", re.MULTILINE)
RUNS = [match[1].replace("\\\n", " ") for text in (*BLOCKS, SCRIPT_HEAD) for match in RUN.finditer(text)]
TOKEN = next(block for block in BLOCKS if "ray get-auth-token --generate\n" in block)
FILLED = {
    "BUCKET": "my-bucket",
    "ACCOUNT": "123456789012",
    "PROJECT": "my-project",
    "REGISTRY": "registry.example/me",
}
FILES = {name for name in re.findall(r"`((?:deploy|tests|configs)?[\w./-]+\.\w+)`", PAGE) if "/" in name}


def _bash(command: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_block_needs_a_cloud_or_is_run_here():
    without = [block for block in BLOCKS if not block.startswith("# needs a ")]
    assert without == [TOKEN]


def test_the_token_is_made_and_nobody_else_can_read_it(tmp_path):
    printed = _bash(TOKEN, ROOT, HOME=str(tmp_path))
    file = tmp_path / ".ray" / "auth_token"
    assert file.read_text() in printed
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("options", RUNS)
def test_every_run_on_the_page_has_options_that_exist(options):
    assert len(RUNS) == 4
    _, file, *others = shlex.split(options)
    file = file.replace("NAME", "multiarith_small")
    config = load_config("default", str(ROOT / file), others)
    assert config.cluster.use_gpu
    assert config.storage_path.startswith(("s3://", "/shared/"))


@pytest.mark.parametrize(
    "name",
    ["cluster.yaml", "deploy/cluster-gcp.yaml"]
    + [f"deploy/kuberay/{name}.yaml" for name in ("common", "mlflow", "rayjob", "raycluster")],
)
def test_sed_on_the_page_fills_in_all_names_of_a_file(name):
    loop = re.search(r"for file in ([\w ]+); do\n", PAGE)
    assert loop
    targets = {file: f"deploy/kuberay/{file}.yaml" for file in loop[1].split()}
    line = next(
        line.strip().partition(" > ")[0].rstrip("\\")
        for line in PAGE.splitlines()
        if line.strip().startswith("sed ")
        and (f" {name} " in line or ("$file" in line and name in targets.values()))
    )
    filled = _bash(line, ROOT, file=Path(name).stem, **FILLED)
    text = "\n".join(row.partition("#")[0] for row in filled.splitlines())
    assert not re.search(r"\b(ACCOUNT|PROJECT|REGISTRY|BUCKET)\b", text)


def test_sed_on_the_page_mounts_the_claim(tmp_path):
    command = next(line for line in PAGE.splitlines() if line.startswith("sed -i "))
    folder = tmp_path / "my-kuberay"
    folder.mkdir()
    for name in ("rayjob", "raycluster"):
        (folder / f"{name}.yaml").write_text((ROOT / f"deploy/kuberay/{name}.yaml").read_text())
    _bash(command, tmp_path)
    for file in folder.iterdir():
        assert len(re.findall(r"^ +- \{name: storage", file.read_text(), re.MULTILINE)) == 4


def test_every_file_and_link_on_the_page_exists():
    assert FILES
    assert [name for name in FILES if not (ROOT / name).exists()] == []
    links = set(re.findall(r"\]\((?!https?:)([^)#]+)", PAGE))
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
