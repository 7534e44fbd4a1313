"""On the host: the process that holds the channel while there are sessions, and passes their frames on.

The first session starts it; later ones find its socket. It has no state of its own in the pod directory but this
socket and a lock file, which settles who starts it.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stage1.channel.device import open_channel
from stage1.channel.frames import READY, START, WAKE, WINDOW, Decoder, Kind, ProtocolError, Woken, frame
from stage1.channel.stream import Stream
from stage1.host.errors import EXIT_FAILURE, UserError
from stage1.pod.lock import is_locked

SOCKET = "sessions.sock"
_LOCK = "sessions.lock"

_ANSWER_SECONDS = 120.0
"""How long the guest may take to answer: it may still boot, and emulated it is slow."""
_WAKE_SECONDS = 0.25
_LINGER_SECONDS = 3.0
"""How long the broker, and with it the agent, waits for another session after the last one."""
_SESSIONS = 256
_BUFFER = 16 * WINDOW
"""More than this many bytes for one session, against the rules of `WINDOW`, come from a guest that means harm."""


def connect() -> socket.socket:
    """Connect to the broker of the pod in the working directory; start it where none runs. Raises `UserError`."""
    try:
        with _elected():
            connection = _connected()
            if connection is None:
                _start()
                connection = _connected()
    except OSError as error:
        raise UserError(f"cannot start a session in {os.getcwd()}: {error.strerror}") from error
    if connection is None:
        raise UserError("the broker of the pod's sessions does not accept any: try again")
    return connection


@contextmanager
def _elected() -> Iterator[None]:
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _connected() -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A relative name: those of sockets are limited to 108 bytes.
        connection.connect(SOCKET)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def _start() -> None:
    with suppress(FileNotFoundError):
        os.unlink(SOCKET)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o077)
        try:
            listener.bind(SOCKET)
        finally:
            os.umask(before)
        listener.listen(_SESSIONS)
        child = os.fork()
        if child == 0:
            _become(listener)
        os.waitpid(child, 0)


def _become(listener: socket.socket) -> None:
    """Turn this process into a broker that nobody waits for, without any descriptor of its parent's, and serve."""
    status = EXIT_FAILURE
    try:
        if os.fork() == 0:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            for name in os.listdir("/proc/self/fd"):
                if int(name) not in (0, 1, 2, listener.fileno()):
                    with suppress(OSError):
                        os.close(int(name))
            _serve(listener)
        status = 0
    finally:
        os._exit(status)


def _serve(listener: socket.socket) -> None:
    listener.setblocking(False)
    try:
        channel = _handshake()
    except UserError as error:
        _refuse(listener, str(error))
        return
    broker = Broker(listener, channel)
    with suppress(ProtocolError, Woken):
        broker.serve()
    broker.end()


def _refuse(listener: socket.socket, reason: str) -> None:
    with _elected():
        os.unlink(SOCKET)
        with suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                connection.sendall(frame(Kind.FAILURE, 0, reason.encode()))
                connection.close()


def _handshake() -> Stream:
    """Open the channel and wake the guest's agent. Raises `UserError` where the VM ends or does not answer."""
    until = time.monotonic() + _ANSWER_SECONDS
    channel: Stream | None = None
    received = b""
    while READY not in received:
        if not is_locked("."):
            raise UserError("the pod's virtual machine has ended")
        if time.monotonic() > until:
            raise UserError(f"the pod's virtual machine has not answered for {_ANSWER_SECONDS:.0f} seconds")
        if channel is None:
            channel = open_channel()
            if channel is None:
                time.sleep(_WAKE_SECONDS)
                continue
            while channel.receive():  # what an earlier broker left
                pass
        if not channel.pending:
            channel.send(WAKE)
        select.select([channel.reading], [], [], _WAKE_SECONDS)
        data = channel.receive()
        if data == b"":
            channel.close()
            channel = None
            time.sleep(_WAKE_SECONDS)
        received = received[-len(READY) :] + (data or b"")
    assert channel is not None
    channel.send(START)
    return channel


class _Client:
    """A session's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.stream = Stream(connection.fileno(), connection.fileno())
        self.decoder = Decoder()


class Broker:
    """Numbers the sessions, and passes frames between their connections and the channel."""

    def __init__(self, listener: socket.socket, channel: Stream) -> None:
        self._listener = listener
        self._channel = channel
        self._decoder = Decoder()
        self._clients: dict[int, _Client] = {}
        self._closing: set[int] = set()
        """Sessions whose client has gone, and whose end the guest has not confirmed."""
        self._next = 0

    def serve(self) -> None:
        """Serve until the VM ends, or no session has been there for a while. Raises `ProtocolError`, `Woken`."""
        idle_since = time.monotonic()
        while True:
            self._wait()
            data = self._channel.receive()
            if data == b"":
                return
            for kind, number, payload in self._decoder.feed(data or b""):
                self._from_guest(kind, number, payload)
            self._accept()
            for number in list(self._clients):
                self._from_client(number)
            if self._clients:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > _LINGER_SECONDS and self._retire():
                return

    def end(self) -> None:
        """Close everything: sessions that are left see that the VM has ended."""
        if self._listener.fileno() >= 0:
            _refuse(self._listener, "the pod's virtual machine has ended")
        for client in self._clients.values():
            client.connection.setblocking(True)
            client.stream.flush()
            client.connection.close()

    def _retire(self) -> bool:
        """Take the socket away, unless somebody has just come."""
        with _elected():
            self._accept()
            if self._clients:
                return False
            os.unlink(SOCKET)
            self._listener.close()
        os.set_blocking(self._channel.writing, True)
        self._channel.send(WAKE)
        return True

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._channel.reading, select.POLLIN)
        if self._channel.pending:
            poll.register(self._channel.writing, select.POLLOUT)
        for client in self._clients.values():
            poll.register(client.connection, select.POLLIN | (select.POLLOUT if client.stream.pending else 0))
        poll.poll(None if self._clients else _LINGER_SECONDS * 1000 + 100)
        self._channel.flush()
        for client in self._clients.values():
            client.stream.flush()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while len(self._clients) < _SESSIONS:
                connection, _ = self._listener.accept()
                while self._next in self._clients or self._next in self._closing:
                    self._next = (self._next + 1) & 0xFFFF
                self._clients[self._next] = _Client(connection)
                self._next = (self._next + 1) & 0xFFFF

    def _from_guest(self, kind: Kind, number: int, payload: bytes) -> None:
        client = self._clients.get(number)
        if client is None:
            if kind is Kind.EXIT:
                self._closing.discard(number)
            return
        client.stream.send(frame(kind, 0, payload))
        if kind is Kind.EXIT:
            client.connection.setblocking(True)
            client.stream.flush()
            client.connection.close()
            del self._clients[number]
        elif len(client.stream.pending) > _BUFFER:
            self._drop(number)

    def _from_client(self, number: int) -> None:
        client = self._clients[number]
        try:
            data = client.stream.receive()
            for kind, _, payload in client.decoder.feed(data or b""):
                self._channel.send(frame(kind, number, payload))
        except (ProtocolError, Woken):
            data = b""
        if data == b"":
            self._drop(number)

    def _drop(self, number: int) -> None:
        self._clients.pop(number).connection.close()
        self._closing.add(number)
        self._channel.send(frame(Kind.CLOSE, number))
