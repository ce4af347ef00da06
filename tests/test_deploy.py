"""Ray, KubeRay, Kubernetes and the linters accept the files for clusters. No test needs a cloud."""

import os
import re
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION
from ray._private.runtime_env.packaging import create_package
from ray._private.runtime_env.working_dir import upload_working_dir_if_needed
from ray.autoscaler._private.util import prepare_config, validate_config

from skipthink_ray import __version__
from skipthink_ray.settings import load_config

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERAY = DEPLOY / "kuberay"
CLUSTERS = [ROOT / "cluster.yaml", DEPLOY / "cluster-gcp.yaml"]
MANIFESTS = sorted(KUBERAY.glob("*.yaml"))
KUBERAY_VERSION = "v1.7.0"
KUBERNETES_VERSION = "1.34"
UPLOAD_LIMIT_BYTES = 2_000_000
CRDS = (
    f"https://raw.githubusercontent.com/ray-project/kuberay/{KUBERAY_VERSION}/ray-operator/config/crd/bases"
)
CLAIM = "# - {name: storage"


def _objects(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def _of_kind(kind: str, text: str | None = None) -> list[dict[str, Any]]:
    texts = [text] if text else [file.read_text() for file in MANIFESTS]
    return [item for each in texts for item in _objects(each) if item["kind"] == kind]


def _pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def _clusters() -> list[dict[str, Any]]:
    return [item["spec"] for item in _of_kind("RayCluster")] + [
        item["spec"]["rayClusterSpec"] for item in _of_kind("RayJob")
    ]


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
    versions = {cluster["rayVersion"] for cluster in _clusters()}
    assert images == {__version__}
    assert versions == {pins["ray"]}
    assert f"FROM rayproject/ray:{pins['ray']}-py311\n" in texts[-1]


def test_the_image_has_every_dependency_at_a_pinned_version():
    pinned = "\n".join(file.read_text() for file in (ROOT / "constraints.txt", DEPLOY / "cloud.txt"))
    names = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", pinned, re.MULTILINE)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for dependency in project["dependencies"]:
        assert re.match(r"[\w.-]+", dependency)[0].lower().replace("_", "-") in names  # pyright: ignore


@pytest.mark.parametrize("respect_gitignore", [True, False])
def test_a_submitted_job_uploads_less_than_two_megabytes_and_all_that_it_needs(tmp_path, respect_gitignore):
    environment = {**yaml.safe_load((ROOT / "runtime_env.yaml").read_text()), "working_dir": str(ROOT)}
    package = tmp_path / "package.zip"

    def upload(folder: str, excludes: list[str], is_file: bool = False) -> None:
        create_package(folder, package, include_gitignore=respect_gitignore, excludes=excludes)

    upload_working_dir_if_needed(environment, include_gitignore=respect_gitignore, upload_fn=upload)
    names = zipfile.ZipFile(package).namelist()
    assert {"jobs/pipeline.py", "skipthink_ray/cli.py", "skipthink_ray/tasks/splits.json"} <= set(names)
    assert {f"configs/{file.name}" for file in (ROOT / "configs").iterdir()} <= set(names)
    assert {name.split("/")[0] for name in names if "/" in name} <= {
        "configs",
        "jobs",
        "skipthink_ray",
        "tune_spaces",
    }
    assert package.stat().st_size < UPLOAD_LIMIT_BYTES


@pytest.fixture(scope="session")
def kuberay() -> dict[str, jsonschema.Draft202012Validator]:
    """KubeRay's schemas by kind, from its repository. KUBERAY_CRDS names a folder that has both files."""
    source = os.environ.get("KUBERAY_CRDS")
    validators = {}
    for name in ("ray.io_rayclusters.yaml", "ray.io_rayjobs.yaml"):
        try:
            url = Path(source, name).absolute().as_uri() if source else f"{CRDS}/{name}"
            crd = yaml.load(urllib.request.urlopen(url, timeout=4), yaml.CSafeLoader)
        except OSError as error:
            pytest.skip(
                f"no schema of KubeRay from {url} ({error}); KUBERAY_CRDS names a folder with both files"
            )
        version = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
        schema = _strict(version["schema"]["openAPIV3Schema"])
        validators[crd["spec"]["names"]["kind"]] = jsonschema.Draft202012Validator(schema)
    return validators


def _strict(schema: Any) -> Any:
    """The schema without room for fields that it does not name, as `kubectl apply` reads it."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _with_claim(text: str) -> str:
    """What docs/deploying.md does with sed: the lines that mount the claim are no comments any more."""
    return text.replace(CLAIM, CLAIM.removeprefix("# "))


@pytest.mark.parametrize("change", [str, _with_claim], ids=["s3", "claim"])
@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_kuberay_accepts_the_manifests(name, change, kuberay):
    text = change((KUBERAY / f"{name}.yaml").read_text())
    item = next(item for item in _objects(text) if item["kind"] in kuberay)
    kuberay[item["kind"]].validate(item)


def test_kuberay_refuses_a_wrong_key(kuberay):
    job = _of_kind("RayJob")[0]
    job["spec"]["rayClusterSpec"]["rayVersoin"] = "2"
    with pytest.raises(jsonschema.ValidationError, match="rayVersoin"):
        kuberay["RayJob"].validate(job)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_kubernetes_accepts_the_manifests_and_the_pods_in_them(file):
    text = _with_claim(file.read_text())
    plain = [item for item in _objects(text) if not item["apiVersion"].startswith("ray.io/")]
    specs = [item["spec"] for item in _of_kind("RayCluster", text)]
    specs += [item["spec"]["rayClusterSpec"] for item in _of_kind("RayJob", text)]
    pods = [pod for spec in specs for pod in _pods(spec)]
    plain += [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod} for pod in pods]
    assert plain
    for item in plain:
        kubernetes_validate.validate(item, KUBERNETES_VERSION, strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**item, "speck": {}}, KUBERNETES_VERSION, strict=True)


def test_the_job_and_the_lasting_cluster_are_the_same_but_for_the_run_configuration():
    job, cluster = _of_kind("RayJob")[0]["spec"]["rayClusterSpec"], _of_kind("RayCluster")[0]["spec"]
    head = job["headGroupSpec"]["template"]["spec"]
    head["volumes"] = [volume for volume in head["volumes"] if volume["name"] != "run"]
    container = head["containers"][0]
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "run"]
    assert job == cluster


@pytest.mark.parametrize("cluster", _clusters(), ids=["cluster", "job"])
def test_kuberay_clusters_scale_from_zero_behind_a_token_and_nothing_runs_on_the_head(cluster):
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["authOptions"] == {"mode": "token", "secretName": "skipthink-token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert [group["minReplicas"] for group in cluster["workerGroupSpecs"]] == [0]
    for pod in _pods(cluster):
        assert pod["serviceAccountName"] == _of_kind("ServiceAccount")[0]["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"]


@pytest.mark.parametrize("cluster", _clusters(), ids=["cluster", "job"])
def test_shared_memory_holds_the_object_store_of_each_pod(cluster):
    for pod in _pods(cluster):
        limit = pod["containers"][0]["resources"]["limits"]["memory"]
        shm = next(volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm")
        assert shm["medium"] == "Memory"
        assert int(shm["sizeLimit"][:-2]) >= DEFAULT_OBJECT_STORE_MEMORY_PROPORTION * int(limit[:-2])


def test_with_the_claim_every_pod_mounts_the_same_storage():
    for name in ("raycluster", "rayjob"):
        text = _with_claim((KUBERAY / f"{name}.yaml").read_text())
        claims = re.findall(r"claimName: (\S+?)}", text)
        assert (
            claims
            == [
                _of_kind("PersistentVolumeClaim", (KUBERAY / "storage.yaml").read_text())[0]["metadata"][
                    "name"
                ]
            ]
            * 2
        )
        assert len(re.findall(r"^ *- \{name: storage, mountPath: /storage\}$", text, re.MULTILINE)) == 2


def test_the_run_of_the_job_is_a_valid_configuration_and_its_tracking_server_lets_it_in(tmp_path):
    config_map, job = _of_kind("ConfigMap")[0], _of_kind("RayJob")[0]
    (tmp_path / "run.yaml").write_text(config_map["data"]["run.yaml"])
    config = load_config("default", str(tmp_path / "run.yaml"), [])
    assert job["spec"]["entrypoint"] == "python -m jobs.pipeline --config /etc/skipthink/run.yaml"
    gpus = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"]
    assert config.cluster.num_workers == gpus
    server = _of_kind("Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    hosts = (
        next(arg for arg in server["args"] if arg.startswith("--allowed-hosts=")).partition("=")[2].split(",")
    )
    host = str(config.tracking.uri).removeprefix("http://")
    assert host in hosts  # MLflow compares a name without * exactly
    service = _of_kind("Service")[0]
    assert f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}" == host


def test_a_run_on_kubernetes_has_the_environment_of_a_submitted_one():
    submitted = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())
    assert yaml.safe_load(_of_kind("RayJob")[0]["spec"]["runtimeEnvYAML"]) == submitted


def test_no_file_holds_a_secret():
    assert _of_kind("Secret") == []


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
