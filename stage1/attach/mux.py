"""In the guest: the service that holds the other ends of an app's streams, for everybody who attaches.

What the app writes goes to all who are attached at that time, and nowhere where nobody is. Who is attached and does not
read holds the app up, as a terminal does that is stopped. What is typed is taken from everybody, and the end of
somebody's input is not the end of the app's.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

from stage1.channel.stream import Stream
from stage1.pod.streams import FOLDER, TERMINAL, Endpoint

_BUFFER = 64 << 10
"""Bytes that wait for a reader before no more are taken."""


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.stream = Stream(connection.fileno(), connection.fileno())
        self.told = False
        """Whether it knows that nothing more comes."""


class Fifo:
    """The FIFO of a stream.

    Our end is that of a reader and of a writer, and so never at its end: before the app itself its pre-start handlers
    have the stream.
    """

    def __init__(self, name: str) -> None:
        os.mkfifo(name)
        # An app may open its stream anew, by /proc/self/fd and whoever it is. Nobody else gets into the folder.
        os.chmod(name, 0o666)
        self.descriptor = os.open(name, os.O_RDWR | os.O_NONBLOCK)

    def renew(self) -> None:
        """Nothing ends a FIFO."""


class Terminal:
    """The app's terminal. We have the app's end open as well: without it ours would be at its end."""

    def __init__(self) -> None:
        self.descriptor, self._theirs = os.openpty()
        self._name = os.ttyname(self._theirs)
        os.symlink(self._name, TERMINAL)
        os.set_blocking(self.descriptor, False)

    def renew(self) -> None:
        """Open the app's end anew: it is hung up when the app or a handler of its ends, the leader of a session."""
        os.close(self._theirs)
        self._theirs = os.open(self._name, os.O_RDWR | os.O_NOCTTY)


class Socket:
    """An endpoint: its socket, those who are attached to it, and our end of the app's stream."""

    def __init__(self, endpoint: Endpoint, ours: Fifo | Terminal) -> None:
        self.endpoint = endpoint
        self._ours = ours
        self.clients: list[_Client] = []
        self._typed = bytearray()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(endpoint.socket)
        self._listener.listen()
        self._listener.setblocking(False)

    def wants(self) -> Iterator[tuple[int, int]]:
        """The descriptors to wait for, and what for."""
        yield self._listener.fileno(), select.POLLIN
        for client in self.clients:
            reading = 0 if len(self._typed) >= _BUFFER else select.POLLIN
            yield client.stream.reading, reading | (select.POLLOUT if client.stream.pending else 0)
        if self.endpoint.is_input:
            if self._typed:
                yield self._ours.descriptor, select.POLLOUT
        elif not self._full:
            yield self._ours.descriptor, select.POLLIN

    def advance(self) -> None:
        """Pass on what can be passed on without waiting."""
        with suppress(BlockingIOError):
            while True:
                self.clients.append(_Client(self._listener.accept()[0]))
        for client in self.clients[:]:
            client.stream.flush()
            self._receive(client)
        if self.endpoint.is_input:
            self._give_input()
        else:
            self._take_output()

    def end(self) -> None:
        """Pass on what the app has written before its end; tell those who have got it all."""
        self.advance()
        drained = self.endpoint.is_input or not self._take_output()
        for client in self.clients:
            if drained and not client.stream.pending and not client.told:
                client.told = True
                with suppress(OSError):
                    client.connection.shutdown(socket.SHUT_WR)

    @property
    def _full(self) -> bool:
        return any(len(client.stream.pending) >= _BUFFER for client in self.clients)

    def _receive(self, client: _Client) -> None:
        """Take what is typed, as long as there is room for it; what is sent to an output is dropped."""
        while len(self._typed) < _BUFFER:
            data = client.stream.receive()
            if data == b"":
                client.connection.close()
                self.clients.remove(client)
            if not data:
                return
            if self.endpoint.is_input:
                self._typed += data

    def _give_input(self) -> None:
        try:
            while self._typed:
                del self._typed[: os.write(self._ours.descriptor, self._typed[:_BUFFER])]
        except BlockingIOError:
            return
        except OSError as error:
            self._renew(error)

    def _take_output(self) -> bool:
        """Give everybody what the app has written; true where some of it still waits for room."""
        while not self._full:
            try:
                data = os.read(self._ours.descriptor, _BUFFER)
            except BlockingIOError:
                return False
            except OSError as error:
                self._renew(error)
                continue
            for client in self.clients:
                client.stream.send(data)
        return True

    def _renew(self, error: OSError) -> None:
        if error.errno != errno.EIO:
            raise error
        self._ours.renew()


class Mux:
    """All endpoints of an app."""

    def __init__(self, sockets: Sequence[Socket]) -> None:
        self._sockets = sockets
        self._ending, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)

    def serve(self) -> None:
        """Pass everything on until SIGTERM, which says that the app has ended; then until all have taken the rest."""
        while not self._wait({self._ending: select.POLLIN}):
            for endpoint in self._sockets:
                endpoint.advance()
        while True:
            for endpoint in self._sockets:
                endpoint.end()
            if not any(endpoint.clients for endpoint in self._sockets):
                return
            self._wait({})

    def _wait(self, events: dict[int, int]) -> bool:
        """Wait until something can be done; whether that was said in `events`."""
        first = set(events)
        for endpoint in self._sockets:
            for descriptor, wanted in endpoint.wants():
                events[descriptor] = events.get(descriptor, 0) | wanted
        poll = select.poll()
        for descriptor, wanted in events.items():
            poll.register(descriptor, wanted)
        return not first.isdisjoint(descriptor for descriptor, _ in poll.poll())


def serve(app: str, names: Sequence[str], folder: str = FOLDER) -> None:
    """Serve the endpoints of an app until SIGTERM, which the app must not outlive."""
    endpoints = [Endpoint(name) for name in names]
    os.makedirs(f"{folder}/{app}", exist_ok=True)
    os.chmod(f"{folder}/{app}", 0o700)
    # Relative names: those of sockets are limited to 108 bytes.
    os.chdir(f"{folder}/{app}")
    terminal = Terminal() if any(endpoint.of_terminal for endpoint in endpoints) else None
    sockets = [
        Socket(endpoint, terminal if endpoint.of_terminal and terminal else Fifo(endpoint.value))
        for endpoint in endpoints
    ]
    mux = Mux(sockets)
    _notify()
    mux.serve()


def _notify() -> None:
    """Tell systemd that the app can start."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.sendto(b"READY=1", address.replace("@", "\0", 1) if address.startswith("@") else address)
