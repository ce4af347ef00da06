"""The interface by which ranks on different nodes reach each other."""

import socket

import psutil

from skipthink_ray.training.network import interface_of


def test_the_interface_of_an_address_is_found_and_an_unknown_one_is_none():
    for name, addresses in psutil.net_if_addrs().items():
        for one in addresses:
            if one.family == socket.AF_INET:
                assert interface_of(one.address) == name
    assert interface_of("192.0.2.1") is None
