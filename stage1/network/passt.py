"""passt, a program that hosts may have: it makes the connections of a network of type `user` in place of qemu."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import replace

from stage1.host.errors import report
from stage1.network.nic import MachineNic, UserNic
from stage1.network.rules import find_program

_TIMEOUT = 60.0


def start_passt(nic: MachineNic) -> MachineNic:
    """Start passt for a card of type `user`, where the host has it; qemu is to be given the card that is returned.

    passt goes into the background when it is ready, and ends when the other end of its socket is closed: with qemu,
    however that ends, or with this process. Where it does not start, qemu is left to make the connections, with a
    warning. Forwarded ports are always left to qemu: with passt of March 2023, which is Debian 12's, a connection to
    one stands still until the client has sent something, and with many protocols the server speaks first.
    """
    if not isinstance(nic, UserNic) or nic.forwards:
        return nic
    program = find_program("passt")
    if program is None:
        return nic
    ours, theirs = socket.socketpair()
    with theirs:
        problem = _start([program, *passt_arguments(nic, theirs.fileno())], theirs.fileno())
    if problem:
        ours.close()
        report("warning", f"passt: {problem}; qemu makes the connections of the network of type user itself")
        return nic
    descriptor = ours.detach()
    os.set_inheritable(descriptor, True)
    return replace(nic, descriptor=descriptor)


def _start(words: list[str], descriptor: int) -> str:
    """Wait until the program is in the background; why it is not, empty where it is."""
    try:
        answer = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, pass_fds=(descriptor,)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    # What is wrong is said last, after remarks.
    lines = answer.stderr.decode(errors="replace").split("\n")
    return next(filter(None, reversed(lines)), f"status {answer.returncode}") if answer.returncode else ""


def passt_arguments(nic: UserNic, descriptor: int) -> tuple[str, ...]:
    """The addresses are those of qemu's own user networking, the gateway's is the host's loopback with both."""
    return (
        *("--quiet", "--ipv4-only", "--fd", str(descriptor)),
        *("--address", str(nic.guest.ip), "--netmask", str(nic.subnet.prefixlen), "--gateway", str(nic.host)),
        *("--dns-forward", str(nic.nameserver)),
    )
