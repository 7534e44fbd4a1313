from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network

import pytest

from stage1.host.errors import UserError
from stage1.network.nic import MacvtapNic, TapNic, UserNic, lkvm_arguments, qemu_arguments, stable_mac
from stage1.pod.ports import PortForward

MAC = "02:00:00:00:00:01"
SUBNET = IPv4Network("10.0.2.0/24")


def test_a_mac_is_stable_local_and_unicast() -> None:
    one = stable_mac("pod", "a")
    assert re.fullmatch(r"02(:[0-9a-f]{2}){5}", one)
    assert one == stable_mac("pod", "a")
    assert len({one, stable_mac("pod", "b"), stable_mac("other", "a")}) == 3


def test_options_of_qemu() -> None:
    forwards = (PortForward("tcp", None, 8080, 80), PortForward("udp", IPv4Address("127.0.0.1"), 53, 5353))
    nics = (TapNic(MAC, "rkt-6ba7b810-0"), MacvtapNic(MAC, 7), UserNic(MAC, SUBNET, forwards))
    assert qemu_arguments(nics, vhost=False) == (
        *("-netdev", "tap,id=net0,ifname=rkt-6ba7b810-0,script=no,downscript=no,vhost=off"),
        *("-device", f"virtio-net-pci,netdev=net0,mac={MAC},romfile="),
        *("-netdev", "tap,id=net1,fd=7,vhost=off"),
        *("-device", f"virtio-net-pci,netdev=net1,mac={MAC},romfile="),
        "-netdev",
        "user,id=net2,ipv6=off,net=10.0.2.0/24,host=10.0.2.2,dns=10.0.2.3,"
        "hostfwd=tcp::8080-10.0.2.15:80,hostfwd=udp:127.0.0.1:53-10.0.2.15:5353",
        *("-device", f"virtio-net-pci,netdev=net2,mac={MAC},romfile="),
    )
    assert qemu_arguments(nics[:1], vhost=True)[1].endswith("vhost=on")
    assert qemu_arguments((), vhost=True) == ()


def test_options_of_lkvm() -> None:
    nics = (TapNic(MAC, "rkt-6ba7b810-0"), MacvtapNic(MAC, 7), UserNic(MAC, SUBNET, ()))
    assert lkvm_arguments(nics) == (
        *("--network", f"mode=tap,script=none,tapif=rkt-6ba7b810-0,guest_mac={MAC}"),
        *("--network", f"mode=tap,script=none,tapif=/dev/macvtap,fd=7,guest_mac={MAC}"),
        *("--network", f"mode=user,host_ip=10.0.2.2,guest_ip=10.0.2.15,guest_mac={MAC}"),
    )
    assert lkvm_arguments(()) == ("--network", "mode=none")


def test_lkvm_forwards_no_ports_of_a_user_network() -> None:
    with pytest.raises(UserError, match="use qemu, or type ptp"):
        lkvm_arguments((UserNic(MAC, SUBNET, (PortForward("tcp", None, 1, 1),)),))
