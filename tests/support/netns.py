"""Network namespaces of a test's own: one that stands for the host, and others for guests and machines outside.

A guest here is a network namespace whose `eth0` is a tap; a thread carries frames between it and the tap on the host,
as a hypervisor does.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import pytest

from stage1.network.tap import open_tap

_CLONE_NEWNET = 0x40000000
_FRAME = 1 << 17
TIMEOUT = 30.0

_libc = ctypes.CDLL(None, use_errno=True)

# Answers each connection, or each packet, with the address that it came from.
_SERVER = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
server = socket.socket(socket.AF_INET, kind)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((sys.argv[2], int(sys.argv[3])))
if kind == socket.SOCK_STREAM:
    server.listen()
print("ready", flush=True)
while True:
    if kind == socket.SOCK_STREAM:
        connection, peer = server.accept()
        connection.sendall(f"{sys.argv[4]} {peer[0]}".encode())
        connection.close()
    else:
        data, peer = server.recvfrom(100)
        server.sendto(f"{sys.argv[4]} {peer[0]}".encode(), peer)
"""
_CLIENT = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
client = socket.socket(socket.AF_INET, kind)
client.settimeout(float(sys.argv[4]))
try:
    client.connect((sys.argv[2], int(sys.argv[3])))
    if kind == socket.SOCK_DGRAM:
        client.send(b"hello")
    print(client.recv(100).decode())
except OSError as error:
    print(f"failed: {error}")
"""


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def host_namespace() -> Iterator[None]:
    """Put this process into a new network namespace, which stands for the host."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces and taps need root")
    if not Path("/dev/net/tun").exists():
        pytest.skip("the machine has no /dev/net/tun")
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
        ip("link", "set", "lo", "up")
        yield
    finally:
        _check(_libc.setns(before, _CLONE_NEWNET))
        os.close(before)


def ip(*words: str) -> str:
    """Run the program ip in the namespace of this process."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def interfaces() -> list[str]:
    """Names of the interfaces in the namespace of this process."""
    return sorted(name for _, name in socket.if_nameindex())


def rules() -> str:
    """What the firewall does in the namespace of this process, by its two programs; empty chains do not count."""
    text = ""
    if shutil.which("nft"):
        # iptables may leave empty tables of its own here.
        listing = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
        text += "".join(line for line in listing.splitlines(True) if line.startswith("table") and "rkt" in line)
    for program in ("iptables-nft-save", "iptables-legacy-save"):
        if shutil.which(program):
            saved = subprocess.run([program], capture_output=True, text=True).stdout
            text += "".join(line for line in saved.splitlines(True) if line.startswith("-") or "RKT" in line)
    return text


def ask(protocol: str, address: str, port: int, timeout: float = TIMEOUT, prefix: tuple[str, ...] = ()) -> str:
    """What a server answers; "failed: ..." where nothing does."""
    words = [*prefix, sys.executable, "-c", _CLIENT, protocol, address, str(port), str(timeout)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def serve(
    protocol: str, address: str, port: int, label: str = "served", prefix: tuple[str, ...] = ()
) -> Iterator[None]:
    """A server that answers `LABEL PEER`."""
    words = [*prefix, sys.executable, "-c", _SERVER, protocol, address, str(port), label]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        with process.stdout as output:
            assert output.readline() == b"ready\n"
            yield
    finally:
        process.kill()
        process.wait()


class Machine:
    """Another network namespace."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=-1)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._process.stdout.close()
        self.prefix = ("nsenter", "--target", str(self._process.pid), "--net")
        self.run("ip", "link", "set", "lo", "up")

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, *words: str, text: str = "") -> str:
        """Run a program in it."""
        return subprocess.run([*self.prefix, *words], input=text, check=True, capture_output=True, text=True).stdout

    def ask(self, protocol: str, address: str, port: int, timeout: float = TIMEOUT) -> str:
        return ask(protocol, address, port, timeout, self.prefix)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this process be in the namespace for a moment."""
        before = os.open("/proc/self/ns/net", os.O_RDONLY)
        target = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            _check(_libc.setns(target, _CLONE_NEWNET))
            yield
        finally:
            _check(_libc.setns(before, _CLONE_NEWNET))
            os.close(before)
            os.close(target)


class Cable:
    """Carries frames between two descriptors of taps until it is closed."""

    def __init__(self, first: int, second: int) -> None:
        self._ends = {first: second, second: first}
        self._stop, self._stopper = os.pipe()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        while True:
            ready, _, _ = select.select([*self._ends, self._stop], [], [])
            if self._stop in ready:
                return
            for source in ready:
                try:
                    os.write(self._ends[source], os.read(source, _FRAME))
                except OSError:
                    # A tap that is down or gone.
                    if not Path(f"/proc/self/fd/{source}").exists():
                        return

    def close(self) -> None:
        os.close(self._stopper)
        self._thread.join()
        for descriptor in (*self._ends, self._stop):
            os.close(descriptor)


@contextmanager
def plugged(devices: dict[int, tuple[str, str]], batch: str) -> Iterator[Machine]:
    """A guest with cards: descriptor or tap of the host, and MAC, by number; it runs `batch` as its unit does."""
    with ExitStack() as stack:
        machine = stack.enter_context(Machine())
        for number, (interface, mac) in devices.items():
            outer = open_tap(interface)
            with machine.inside():
                inner = open_tap(f"eth{number}")
                ip("link", "set", f"eth{number}", "address", mac)
            stack.callback(Cable(outer, inner).close)
        machine.run("ip", "-batch", "-", text=batch)
        yield machine


@contextmanager
def outside(subnet: str = "192.0.2") -> Iterator[Machine]:
    """A machine on a wire of the host, which has the address 1 on it; the machine has 2, and no route to pods."""
    with Machine() as machine:
        ip("link", "add", "wire0", "type", "veth", "peer", "name", "wire1", "netns", str(machine.pid))
        ip("address", "add", f"{subnet}.1/24", "dev", "wire0")
        ip("link", "set", "wire0", "up")
        machine.run("ip", "address", "add", f"{subnet}.2/24", "dev", "wire1")
        machine.run("ip", "link", "set", "wire1", "up")
        yield machine
