"""The network interface by which the ranks of a training run reach each other.

Without a GPU, torch.distributed uses gloo, which listens at the address that the host name resolves to. On
Debian and Ubuntu that is 127.0.1.1, where other machines cannot connect. Ray knows the node's real address.
"""

import os
import socket
from dataclasses import dataclass
from typing import Any

import psutil
import ray.util
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

INTERFACE = "GLOO_SOCKET_IFNAME"


class _Backend(_TorchBackend):
    """Sets the interface before torch.distributed starts. Ray has no public hook at this point."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(use_interface_of_node)
        super().on_start(worker_group, backend_config)


@dataclass
class NodeTorchConfig(TorchConfig):
    """Ray Train's set-up of torch.distributed, over the interfaces of the nodes' addresses."""

    @property
    def backend_cls(self) -> type[_Backend]:
        return _Backend


def use_interface_of_node() -> None:
    """Runs on every rank. Keeps an interface that the user has set."""
    name = interface_of(ray.util.get_node_ip_address())
    if name:
        os.environ.setdefault(INTERFACE, name)


def interface_of(address: str) -> str | None:
    """The interface with this address, or None."""
    for name, addresses in psutil.net_if_addrs().items():
        kinds = (socket.AF_INET, socket.AF_INET6)
        if any(one.family in kinds and one.address.partition("%")[0] == address for one in addresses):
            return name
    return None
