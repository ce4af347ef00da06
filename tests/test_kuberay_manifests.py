"""The manifests in deploy/kuberay are what KubeRay and Kubernetes accept, and fit together."""

import os
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION

from skipthink_ray.settings import load_config
from tests.conftest import ROOT

KUBERAY = ROOT / "deploy" / "kuberay"
MANIFESTS = sorted(KUBERAY.glob("*.yaml"))
KUBERAY_VERSION, KUBERNETES_VERSION = "v1.7.0", "1.34"
REPOSITORY = "https://raw.githubusercontent.com/ray-project/kuberay"
CRDS = f"{REPOSITORY}/{KUBERAY_VERSION}/ray-operator/config/crd/bases"
CLAIM = "# - {name: storage"


def _objects(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def _of_kind(kind: str, text: str | None = None) -> list[dict[str, Any]]:
    texts = [text] if text else [file.read_text() for file in MANIFESTS]
    return [item for each in texts for item in _objects(each) if item["kind"] == kind]


def _pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def _clusters(text: str | None = None) -> list[dict[str, Any]]:
    lasting = [item["spec"] for item in _of_kind("RayCluster", text)]
    return lasting + [item["spec"]["rayClusterSpec"] for item in _of_kind("RayJob", text)]


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
    pods = [pod for cluster in _clusters(text) for pod in _pods(cluster)]
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


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_with_the_claim_every_pod_mounts_the_same_storage(name):
    claim = _of_kind("PersistentVolumeClaim", (KUBERAY / "storage.yaml").read_text())[0]["metadata"]["name"]
    (cluster,) = _clusters(_with_claim((KUBERAY / f"{name}.yaml").read_text()))
    for pod in _pods(cluster):
        source = {"claimName": claim}
        assert {"name": "storage", "persistentVolumeClaim": source} in pod["volumes"]
        assert {"name": "storage", "mountPath": "/storage"} in pod["containers"][0]["volumeMounts"]


def test_the_run_of_the_job_is_a_valid_configuration_and_its_tracking_server_lets_it_in(tmp_path):
    config_map, job = _of_kind("ConfigMap")[0], _of_kind("RayJob")[0]
    (tmp_path / "run.yaml").write_text(config_map["data"]["run.yaml"])
    config = load_config("default", str(tmp_path / "run.yaml"), [])
    assert job["spec"]["entrypoint"] == "python -m jobs.pipeline --config /etc/skipthink/run.yaml"
    gpus = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"]
    assert config.cluster.num_workers == gpus
    server = _of_kind("Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    options = dict(option.split("=", 1) for option in server["args"])
    host = str(config.tracking.uri).removeprefix("http://")
    assert host in options["--allowed-hosts"].split(",")  # MLflow compares a name without * exactly
    service = _of_kind("Service")[0]
    assert f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}" == host


def test_a_run_on_kubernetes_has_the_environment_of_a_submitted_one():
    submitted = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())
    assert yaml.safe_load(_of_kind("RayJob")[0]["spec"]["runtimeEnvYAML"]) == submitted


def test_no_file_holds_a_secret():
    assert _of_kind("Secret") == []
