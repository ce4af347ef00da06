"""Checks every node of the cluster with one short task each, before anything is made.

Each node reads a nonce of the driver under the storage path and writes one of its own, which the driver
reads. So nodes that would fill their own disks are found. The same task looks at the node's versions, free
disk and GPU memory.
"""

import hashlib
import platform
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.cluster import BLOCK_BYTES

PACKAGES = ("ray", "torch", "transformers", "deepspeed")
PATIENCE_S, GIVE_UP_S = 10.0, 600.0
"""How long to wait for a node silently, and at all. A node may have to install the job's environment."""
GRACE_S = 3.0
"""How long to wait for other nodes after the first that cannot see the storage, so that all are named."""
STORE_BYTES = 16 * BLOCK_BYTES
"""The smallest object store that a node may have."""
MIB = 1 << 20


@dataclass(frozen=True)
class Seen:
    """What a node sees."""

    faults: tuple[str, ...]
    """What it cannot see, and why."""
    versions: dict[str, str]
    free_bytes: int
    """Of the disk with temporary files."""
    gpu_bytes: tuple[int, ...]
    """Memory of each GPU."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster."""

    id: str
    name: str
    resources: dict[str, float]
    seen: Seen


_checked: dict[tuple[str, ...], Node] = {}
"""By node, storage path and input files. The runs of a sweep ask for the same ones."""


def check_nodes(
    storage: Folder, inputs: Sequence[Folder], say: Callable[[str], None], joined: bool
) -> list[Node]:
    """All nodes that are alive. Raises ValueError, with their names, for nodes that cannot work on the run.

    They must see the storage path and the input files, have the driver's versions, and a large enough object
    store. Of a local cluster of our own (not `joined`), only this process is asked.
    """
    alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    about = (storage.uri, *(file.uri for file in inputs))
    known = [_checked[key, *about] for key in alive if (key, *about) in _checked]
    new = {key: node for key, node in alive.items() if (key, *about) not in _checked}
    mine = look(Ticket(storage, "", ()))
    seen = _ask(new, storage, inputs, say) if joined else dict.fromkeys(new, mine)
    nodes = [Node(key, _name(node), node["Resources"], seen[key]) for key, node in new.items()]
    _refuse_unseen(nodes, storage)
    _refuse_versions(nodes, mine)
    _refuse_small_stores(nodes)
    _checked.update({(node.id, *about): node for node in nodes})
    return [*known, *nodes]


@dataclass(frozen=True)
class Ticket:
    """What a node is to look at."""

    place: Folder
    """The folder with the driver's nonce."""
    nonce: str
    inputs: tuple[tuple[Folder, int], ...]
    """Input files and their sizes in bytes."""


def look(ticket: Ticket, own: str = "") -> Seen:
    """Runs on a node. own: the name of the file to write; none: only look."""
    faults = [*_faults(ticket, own)] if own else []
    return Seen(tuple(faults), _versions(), shutil.disk_usage(gettempdir()).free, _gpu_bytes())


def _faults(ticket: Ticket, own: str) -> list[str]:
    place = ticket.place
    try:
        if place.read_text("driver") != ticket.nonce:
            return ["it holds another folder of that name"]
        place.write_text(own, ticket.nonce)
    except FileNotFoundError:
        return ["it does not have what the driver has just written there"]
    except OSError as error:
        return [str(error)]
    return [
        f"its input file {file.uri} is missing or differs from the driver's"
        for file, size in ticket.inputs
        if file.filesystem.get_file_info(file.path).size != size
    ]


def _ask(
    nodes: dict[str, Any], storage: Folder, inputs: Sequence[Folder], say: Callable[[str], None]
) -> dict[str, Seen]:
    """What each node sees. Raises ValueError for a node that does not answer."""
    nonce = uuid.uuid4().hex
    place = storage.child(f".seen-{nonce[:12]}")
    sizes = ((file, file.filesystem.get_file_info(file.path).size) for file in inputs if file.is_local)
    ticket = Ticket(place, nonce, tuple(sizes))
    place.write_text("driver", nonce)
    try:
        calls = {_task(key).remote(ticket, key): key for key in nodes}
        answers = _wait(calls, nodes, say)
        return {key: _confirmed(place, key, seen) for key, seen in answers.items()}
    finally:
        storage.delete(place.name)


def _task(node: str) -> Any:
    here: Any = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(look)


def _confirmed(place: Folder, node: str, seen: Seen) -> Seen:
    """The answer of a node; a fault is added if the driver does not see what it wrote."""
    if seen.faults or place.exists(node):
        return seen
    fault = "the driver does not see what it has just written there"
    return Seen((fault,), seen.versions, seen.free_bytes, seen.gpu_bytes)


def _wait(calls: dict[Any, str], nodes: dict[str, Any], say: Callable[[str], None]) -> dict[str, Seen]:
    answers, started, told, deadline = dict[str, Seen](), time.monotonic(), False, GIVE_UP_S
    waiting = [*calls]
    while waiting and time.monotonic() - started < deadline:
        done, waiting = ray.wait(waiting, timeout=0.5)
        for call in done:
            answers[calls[call]] = _answer(call)
            if answers[calls[call]].faults:
                deadline = min(deadline, time.monotonic() - started + GRACE_S)
        if waiting and not told and time.monotonic() - started > PATIENCE_S:
            told = True
            names = ", ".join(_name(nodes[calls[call]]) for call in waiting)
            say(f"Waiting for nodes to answer (they may be installing the environment): {names}")
    late = "it did not answer" if deadline == GIVE_UP_S else ""  # else others are refused already
    return answers | {calls[call]: Seen((late,) if late else (), {}, 0, ()) for call in waiting}


def _answer(call: Any) -> Seen:
    try:
        return ray.get(call)
    except RayError as error:  # the node is lost, or cannot import this package
        last = str(error).strip().splitlines()[-1]
        return Seen((f"it cannot run skipthink_ray: {last}",), {}, 0, ())


def _refuse_unseen(nodes: Sequence[Node], storage: Folder) -> None:
    faulty = [f"node {node.name}: {'; '.join(node.seen.faults)}" for node in nodes if node.seen.faults]
    if faulty:
        raise ValueError(
            f"storage_path: {len(faulty)} of {len(nodes)} nodes cannot work on {storage.uri}: "
            f"{'; '.join(faulty)}. Name a URI such as s3://BUCKET/runs, or a folder of a file system that "
            "every node mounts"
        )


def _refuse_versions(nodes: Sequence[Node], mine: Seen) -> None:
    faulty = [
        f"node {node.name} has {name} {has}, the driver {mine.versions[name]}"
        for node in nodes
        for name, has in node.seen.versions.items()
        if has != mine.versions[name]
    ]
    if faulty:
        raise ValueError(
            f"cluster: the versions differ: {'; '.join(faulty)}. Install the same packages on every node"
        )


def _refuse_small_stores(nodes: Sequence[Node]) -> None:
    faulty = [
        f"node {node.name} has an object store of {has / MIB:.0f} MiB"
        for node in nodes
        if (has := node.resources.get("object_store_memory", 0)) < STORE_BYTES
    ]
    if faulty:
        raise ValueError(
            f"cluster: {'; '.join(faulty)}; a stage needs {STORE_BYTES // MIB} MiB. "
            "Start the node with a larger `--object-store-memory`, and give its container a larger /dev/shm"
        )


def check_disks(nodes: Sequence[Node], storage: Folder, temporary_bytes: int, stored_bytes: int) -> None:
    """Raises ValueError if a node lacks room for temporary files, or a local storage path for artifacts."""
    places = [
        (f"{gettempdir()} on node {node.name}", node.seen.free_bytes, temporary_bytes) for node in nodes
    ]
    if storage.is_local:
        free = shutil.disk_usage(storage.create().path).free
        places.append((f"storage_path: {storage.uri}", free, stored_bytes))
    short = [
        f"{place} has {free / MIB:,.0f} MiB free, and a run with this student needs {needed / MIB:,.0f} MiB"
        for place, free, needed in places
        if free < needed
    ]
    if short:
        raise ValueError(f"{'; '.join(short)}. Free some space, or name another place")


def _name(node: dict[str, Any]) -> str:
    address, host = node["NodeManagerAddress"], node["NodeManagerHostname"]
    return address if host in ("", address) else f"{address} ({host})"


@cache
def _versions() -> dict[str, str]:
    """Versions that must be equal on all nodes. A build such as +cpu may differ."""
    python = ".".join(platform.python_version_tuple()[:2])
    packages = {name: _version(name).partition("+")[0] for name in PACKAGES}
    return {"Python": python, **packages, "skipthink_ray": _source_digest()}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _source_digest() -> str:
    """A digest of this package's modules: two checkouts may have the same version."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _gpu_bytes() -> tuple[int, ...]:
    """The memory of each GPU of this machine; empty without NVIDIA's tool."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(int(line) * MIB for line in re.findall(r"^\d+$", done.stdout, re.MULTILINE))
