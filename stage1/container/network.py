"""The network namespace of a container."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stage1.host.syscalls import enter_namespace, unshare_network
from stage1.network import netlink
from stage1.network.guest import guest_interface

_OWN = "/proc/self/ns/net"


def make_namespace(interfaces: Sequence[str]) -> int:
    """Make a namespace and move interfaces of the host there, where they get the names of a guest's network cards.

    Returns a descriptor of the namespace; with its last descriptor and process it goes, and the interfaces with it.
    Raises `OSError`.
    """
    host = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare_network()
        try:
            namespace = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
            netlink.set_up("lo")
        finally:
            enter_namespace(host)
    finally:
        os.close(host)
    for number, name in enumerate(interfaces):
        netlink.move_link(name, namespace, guest_interface(number))
    return namespace
