"""Ray and the linters accept the files for clusters, and a job uploads little. No test needs a cloud."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray._private.runtime_env.packaging import create_package
from ray._private.runtime_env.working_dir import upload_working_dir_if_needed
from ray.autoscaler._private.util import prepare_config, validate_config

from skipthink_ray import __version__

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CLUSTERS = [ROOT / "cluster.yaml", DEPLOY / "cluster-gcp.yaml"]
MANIFESTS = sorted((DEPLOY / "kuberay").glob("*.yaml"))
UPLOAD_LIMIT_BYTES = 2_000_000
UPLOADED = {"configs", "jobs", "skipthink_ray", "tune_spaces"}


@pytest.mark.parametrize("file", CLUSTERS, ids=lambda file: file.name)
def test_ray_up_accepts_the_cluster_files(file):
    config = prepare_config(yaml.safe_load(file.read_text()))
    validate_config(config)
    assert all("pip install" not in command for name in config if "setup" in name for command in config[name])


@pytest.mark.parametrize("file", CLUSTERS, ids=lambda file: file.name)
def test_ray_up_refuses_a_cluster_file_with_a_wrong_key(file):
    config = yaml.safe_load(file.read_text())
    config["available_node_types"]["head"]["instance"] = "m5.large"
    with pytest.raises(jsonschema.ValidationError, match="instance"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("file", CLUSTERS, ids=lambda file: file.name)
def test_the_head_is_on_demand_without_cpus_and_every_worker_is_on_spot_and_can_reach_storage(file):
    config = yaml.safe_load(file.read_text())
    head, *workers = (config["available_node_types"][name] for name in ("head", "gpu_worker", "cpu_worker"))
    assert head["resources"] == {"CPU": 0}
    assert not {"InstanceMarketOptions", "scheduling"} & head["node_config"].keys()
    for worker in workers:
        node = worker["node_config"]
        assert worker["min_workers"] == 0
        assert node.get("IamInstanceProfile") or node["serviceAccounts"]
        spot = node.get("InstanceMarketOptions") or {
            "MarketType": node["scheduling"]["provisioningModel"].lower()
        }
        assert spot == {"MarketType": "spot"}
    assert sum(worker["max_workers"] for worker in workers) == config["max_workers"]


def test_the_cluster_file_uses_the_roles_that_the_template_makes():
    template = (DEPLOY / "aws.yaml").read_text()
    node_types = yaml.safe_load(CLUSTERS[0].read_text())["available_node_types"].values()
    for profile in {node["node_config"]["IamInstanceProfile"]["Name"] for node in node_types}:
        assert f"InstanceProfileName: {profile}," in template


def test_every_file_names_one_version_of_the_image_and_of_ray():
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    texts = [file.read_text() for file in [*CLUSTERS, *MANIFESTS, DEPLOY / "Dockerfile"]]
    images = {tag for text in texts for tag in re.findall(r"\bskipthink:(\S+)", text)}
    versions = {version for text in texts for version in re.findall(r'rayVersion: "(\S+)"', text)}
    assert images == {__version__}
    assert versions == {pins["ray"]}
    assert f"FROM rayproject/ray:{pins['ray']}-py311\n" in texts[-1]


def test_the_image_has_every_dependency_at_a_pinned_version():
    pinned = "\n".join(file.read_text() for file in (ROOT / "constraints.txt", DEPLOY / "cloud.txt"))
    names = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", pinned, re.MULTILINE)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for dependency in project["dependencies"]:
        assert re.match(r"[\w.-]+", dependency)[0].lower().replace("_", "-") in names  # pyright: ignore


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the project's files, with large files where work leaves them."""
    folder = tmp_path_factory.mktemp("checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    large = (
        ".git/pack",
        ".venv/lib.so",
        "runs/demo/model",
        "docs/new.png",
        "jobs/__pycache__/x.pyc",
        "run.log",
    )
    for name in (*tracked.splitlines(), *large):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(
            bytes(UPLOAD_LIMIT_BYTES) if name in large else (ROOT / name).read_bytes()
        )
    return folder


@pytest.mark.parametrize("respect_gitignore", [True, False])
def test_a_submitted_job_uploads_all_that_it_needs_in_less_than_two_megabytes(
    checkout, tmp_path, respect_gitignore
):
    environment = {**yaml.safe_load((ROOT / "runtime_env.yaml").read_text()), "working_dir": str(checkout)}
    package = tmp_path / "package.zip"

    def upload(folder: str, excludes: list[str], is_file: bool = False) -> None:
        create_package(folder, package, include_gitignore=respect_gitignore, excludes=excludes)

    upload_working_dir_if_needed(environment, include_gitignore=respect_gitignore, upload_fn=upload)
    names = set(zipfile.ZipFile(package).namelist())
    needed = [
        file for name in UPLOADED for file in (checkout / name).rglob("*.*") if "__pycache__" not in str(file)
    ]
    assert {str(file.relative_to(checkout)) for file in needed} <= names
    assert {name.split("/")[0] for name in names if "/" in name} == UPLOADED
    assert package.stat().st_size < UPLOAD_LIMIT_BYTES


def _lint(tool: str, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name(tool), file], capture_output=True, text=True, timeout=60
    )


def test_the_linters_of_docker_and_of_the_shell_have_no_remark():
    for tool, name in (("hadolint", "Dockerfile"), ("shellcheck", "slurm.sbatch")):
        done = _lint(tool, DEPLOY / name)
        assert (done.returncode, done.stdout) == (0, "")


def test_the_linters_find_a_mistake(tmp_path):
    for tool, file, text in (
        ("hadolint", "Dockerfile", "FROM ubuntu\nRUN cd /\n"),
        ("shellcheck", "slurm.sbatch", "#!/bin/bash\nrm $1\n"),
    ):
        (tmp_path / file).write_text(text)
        assert _lint(tool, tmp_path / file).returncode == 1
