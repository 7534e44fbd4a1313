"""Tap and macvtap devices: the host's end of a guest's network card. Failures are `OSError`."""

from __future__ import annotations

import fcntl
import os
import struct

from stage1.host.errors import UserError

_TUN = "/dev/net/tun"
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_IFREQ = struct.Struct("16sH22x")


def open_tap(name: str) -> int:
    """A descriptor of the tap device `name`, made where it is missing; each read and write is one frame.

    A `virtio_net_hdr` is before each frame, as hypervisors expect it. Raises `UserError` where the host has no such
    devices.
    """
    try:
        descriptor = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UserError(f"the host has no {_TUN}: load the kernel module tun") from error
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def create_tap(name: str) -> None:
    """Make a tap device that stays until it is deleted as any other interface."""
    descriptor = open_tap(name)
    try:
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)


def open_macvtap(index: int, name: str, scratch: str) -> int:
    """A descriptor of the macvtap interface `name` with the number `index`.

    Where /dev has no node for it (no udev, no devtmpfs), one is made in the directory `scratch` and removed again.
    """
    try:
        return os.open(f"/dev/tap{index}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        with open(f"/sys/class/net/{name}/tap{index}/dev", encoding="ascii") as file:
            major, _, minor = file.read().partition(":")
    node = f"{scratch}/.tap{index}"
    os.mknod(node, 0o20600, os.makedev(int(major), int(minor)))
    try:
        return os.open(node, os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.unlink(node)
