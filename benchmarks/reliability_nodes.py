"""A Ray cluster of two nodes on this machine: a head without CPUs, and a node that is killed and replaced."""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import psutil

from benchmarks.servers import free_ports

RAY = str(Path(sys.executable).with_name("ray"))
CPUS = 2


class Nodes:
    """A cluster's address and its node. If the address is None, each run starts a local cluster."""

    def __init__(self, address: str | None, environment: dict[str, str], log: Path) -> None:
        self.address, self.environment, self.log = address, environment, log
        self.node = self.start(f"--address {address} --num-cpus {CPUS}") if address else None

    def start(self, words: str) -> subprocess.Popen[bytes]:
        return start(words, self.environment, self.log)

    def replace(self) -> None:
        """SIGKILL for all processes of the node; then another one starts, as from an autoscaler."""
        end(self.node)
        self.node = self.start(f"--address {self.address} --num-cpus {CPUS}")


def start(words: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """`ray start`, which returns when the node is there or after a failure."""
    for _ in range(3):  # on a busy machine, Ray gives up after 30 s
        with open(log, "ab") as screen:
            node = subprocess.Popen(
                [RAY, "start", "--block", "--disable-usage-stats", *words.split()],
                env=environment,
                stdout=screen,
                stderr=screen,
            )
        before = log.stat().st_size
        while node.poll() is None:
            time.sleep(0.2)
            if b"Ray runtime started" in log.read_bytes()[before:]:
                return node
    raise RuntimeError(f"Ray did not start; see {log}")


def end(node: subprocess.Popen[bytes] | None) -> None:
    """SIGKILL for all processes of a node."""
    if node is None or node.poll() is not None:
        return
    parent = psutil.Process(node.pid)
    for one in [parent, *parent.children(recursive=True)]:
        one.kill()
    node.wait()


@contextmanager
def head_node(cpus: int, log: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The head of a cluster for the `with` block: its address, and the environment of further nodes.

    Processes that start in the block have the cluster's token in their environment.
    """
    place = mkdtemp(prefix="ray", dir="/tmp")
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {**os.environ, "RAY_TMPDIR": place, "RAY_worker_niceness": "0"}
    gcs, dashboard, agent, client = free_ports(4)
    ports = f"--port {gcs} --dashboard-port {dashboard} --dashboard-agent-listen-port {agent}"
    head = None
    try:
        words = f"--head --num-cpus {cpus} {ports} --ray-client-server-port {client}"
        head = start(words, environment, log)
        yield f"127.0.0.1:{gcs}", environment
    finally:
        end(head)
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            del os.environ[name]
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def two_nodes(storage: Path, is_needed: bool) -> Iterator[Nodes]:
    """A cluster for the `with` block, a head without CPUs and a node, or None for its address."""
    if not is_needed:
        yield Nodes(None, {}, storage)
        return
    log = storage.with_suffix(".ray.txt")
    with head_node(0, log) as (address, environment):
        nodes = Nodes(address, environment, log)
        try:
            yield nodes
        finally:
            end(nodes.node)
