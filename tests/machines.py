"""Machines with addresses of their own on this one: network namespaces joined by a bridge.

A machine has its own host name, /etc/hosts as Debian writes it (the name is 127.0.1.1), /tmp/ray, home
folder, folder for temporary files and local disk. All share the other folders, the processors and the memory.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import Started, start

DISK = Path("/mnt")
"""Where every machine has its own local disk."""
ENTER = """
set -e
hostname "$1"
mkdir -p /tmp/ray
mount --bind "$2/ray" /tmp/ray
mount --bind "$2/disk" /mnt
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Machine:
    """A network namespace, and a folder with the files that only this machine has."""

    name: str
    address: str
    folder: Path

    def start(self, screen: str, environment: dict[str, str], *command: str) -> Started:
        """Start a command on the machine. screen: name of the file in its folder that receives the output."""
        own = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")}
        enter = ["ip", "netns", "exec", self.name, "unshare", "--uts", "--mount", "sh", "-c", ENTER, "sh"]
        words = [*enter, self.name, str(self.folder), *command]
        return start(self.folder / screen, environment | own, *words)

    def files(self) -> list[str]:
        """The files on the machine that are not Ray's own."""
        places = ("home", "tmp", "disk")
        return sorted(
            str(file.relative_to(self.folder))
            for place in places
            for file in (self.folder / place).rglob("*")
            if file.is_file()
        )

    def kill(self) -> None:
        """SIGKILL for all processes of the machine, as if it lost power."""
        for _ in range(50):
            pids = _ip("netns", "pids", self.name).split()
            if not pids:
                return
            for pid in map(int, pids):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)


@dataclass(frozen=True)
class Network:
    """Machines, and the address at which they reach the servers of this one."""

    machines: list[Machine]
    address: str


@contextmanager
def network(folder: Path, size: int) -> Iterator[Network]:
    """A network of new machines. They are gone, with all their processes, at the end of the block.

    Skips the test if this user cannot make network namespaces.
    """
    if os.geteuid() or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("network namespaces need root and the commands ip and unshare (iproute2, util-linux)")
    prefix, bridge = _free_prefix(), f"st{os.getpid()}"
    made = list[Machine]()
    try:
        _link_bridge(bridge, f"{prefix}.254/24")
        for number in range(1, size + 1):
            made.append(Machine(f"{bridge}-{number}", f"{prefix}.{number}", folder / f"machine{number}"))
            _make(made[-1], bridge)
        yield Network(made, f"{prefix}.254")
    finally:
        for machine in made:
            machine.kill()
            _ip("netns", "del", machine.name)
            shutil.rmtree(_settings(machine), ignore_errors=True)
        _ip("link", "del", bridge)


def _link_bridge(bridge: str, address: str) -> None:
    try:
        _ip("link", "add", bridge, "type", "bridge")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot make a bridge: {error.stderr.strip()}")
    _ip("addr", "add", address, "dev", bridge)
    _ip("link", "set", bridge, "up")


def _make(machine: Machine, bridge: str) -> None:
    for place in ("ray", "home", "tmp", "disk"):
        (machine.folder / place).mkdir(parents=True)
    _settings(machine).mkdir(parents=True)
    (_settings(machine) / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {machine.name}\n")
    here = f"v{machine.name.removeprefix('st')}"
    _ip("netns", "add", machine.name)
    _ip("link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
    _ip("link", "set", here, "master", bridge, "up")
    _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    _ip("-n", machine.name, "link", "set", "eth0", "up")
    _ip("-n", machine.name, "link", "set", "lo", "up")


def _settings(machine: Machine) -> Path:
    """`ip netns exec` shows the files of this folder in /etc."""
    return Path("/etc/netns") / machine.name


def _free_prefix() -> str:
    used = _ip("-o", "addr")
    return next(prefix for third in range(77, 256) if f" {(prefix := f'10.77.{third}')}." not in used)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout
