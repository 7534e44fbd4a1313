"""An emulated OpenPGP card, behind a reader of PC/SC that is emulated too (Debian's pcscd and vsmartcard-vpcd).

The card signs with one RSA key and cannot do anything else (OpenPGP Smart Card Application 3.4; ISO/IEC 7816-4).
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.netns import TIMEOUT, host_namespace

PIN = "123456"
_PORT = 0x8C7B
_POWER_OFF, _ASK_ATR = b"\x00", b"\x04"
DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
_APPLICATION = bytes.fromhex("d27600012401")
_AID = _APPLICATION + bytes.fromhex("0304 fffe 00000001 0000")
_HISTORICAL = bytes.fromhex("00 73 000080 05 9000")
"""Card capabilities: commands can be chained."""
_ATR = bytes.fromhex("3b80800101")
_OK, _UNKNOWN, _NOT_FOUND, _NOT_ALLOWED = b"\x90\x00", b"\x6d\x00", b"\x6a\x88", b"\x69\x82"


@dataclass(frozen=True)
class SecretKey:
    """RSA, as it is in an exported OpenPGP secret key without a passphrase (RFC 4880, 5.5.3)."""

    fingerprint: bytes
    created: bytes
    modulus: int
    public: int
    private: int

    @classmethod
    def exported(cls, home: Path, fingerprint: str) -> SecretKey:
        """The key of a GnuPG home, where it has no passphrase."""
        argv = ["gpg", "--homedir", str(home), "--batch", "--export-secret-keys", fingerprint]
        packet = subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout
        assert packet[0] == 0x95, "a secret key packet with a length of two bytes"
        body = packet[3 : 3 + struct.unpack(">H", packet[1:3])[0]]
        assert (body[0], body[5]) == (4, 1), "version 4, RSA"
        modulus, rest = _number(body[6:])
        public, rest = _number(rest)
        assert rest[0] == 0, "not encrypted"
        private, _ = _number(rest[1:])
        return cls(bytes.fromhex(fingerprint), body[1:5], modulus, public, private)


def _number(data: bytes) -> tuple[int, bytes]:
    """A multiprecision integer, and what follows it (RFC 4880, 3.2)."""
    end = 2 + (struct.unpack(">H", data[:2])[0] + 7) // 8
    return int.from_bytes(data[2:end], "big"), data[end:]


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    length = (
        bytes([size]) if size < 128 else b"\x81" + bytes([size]) if size < 256 else b"\x82" + struct.pack(">H", size)
    )
    return tag.to_bytes(1 if tag < 256 else 2, "big") + length + value


@dataclass
class Card:
    """Answers commands, and counts what was asked of it."""

    key: SecretKey
    pin: str = PIN
    signatures: int = 0
    wrong_pins: int = 0
    _verified: bool = False
    _rest: bytes = b""
    _objects: dict[int, bytes] = field(init=False)

    def __post_init__(self) -> None:
        size = self.key.modulus.bit_length()
        algorithm = b"\x01" + struct.pack(">HH", size, 32) + b"\x00"
        parts = {
            0xC0: bytes(10),
            **dict.fromkeys((0xC1, 0xC2, 0xC3), algorithm),
            # The PIN is good for many signatures; longest PINs; tries that are left.
            0xC4: bytes([1, 32, 32, 32, 3, 0, 3]),
            0xC5: self.key.fingerprint.ljust(60, b"\0"),
            0xC6: bytes(60),
            0xCD: self.key.created.ljust(12, b"\0"),
        }
        discretionary = b"".join(_tlv(tag, value) for tag, value in parts.items())
        application = _tlv(0x4F, _AID) + _tlv(0x5F52, _HISTORICAL) + _tlv(0x73, discretionary)
        self._objects = {
            **parts,
            0x4F: _AID,
            0x5E: b"",
            0x5F50: b"",
            0x5F52: _HISTORICAL,
            0x65: _tlv(0x5B, b"") + _tlv(0x5F2D, b"en") + _tlv(0x5F35, b"9"),
            0x6E: application,
            0x7A: _tlv(0x93, bytes(3)),
        }

    def reset(self) -> None:
        self._verified, self._rest = False, b""

    def answer(self, command: bytes) -> bytes:
        """The answer to a command with a short length, and its status word."""
        _, instruction, first, second = command[:4]
        data = command[5 : 5 + command[4]] if len(command) > 5 else b""
        match instruction:
            case 0xA4:
                return _OK if data == _APPLICATION else b"\x6a\x82"
            case 0xC0:
                return self._part(self._rest)
            case 0xCA:
                value = self._objects.get(first << 8 | second)
                return _NOT_FOUND if value is None else self._part(value)
            case 0x20:
                return self._verify(data)
            case 0x47 if data[:1] == b"\xb6":
                size = (self.key.modulus.bit_length() + 7) // 8
                numbers = _tlv(0x81, self.key.modulus.to_bytes(size, "big")) + _tlv(
                    0x82, self.key.public.to_bytes(3, "big")
                )
                return self._part(_tlv(0x7F49, numbers))
            case 0x47:
                return _NOT_FOUND
            case 0x2A:
                return self._sign(data) if self._verified else _NOT_ALLOWED
        return _UNKNOWN

    def _part(self, value: bytes) -> bytes:
        """As much as an answer holds; the rest is asked for with GET RESPONSE."""
        self._rest = value[256:]
        return value[:256] + (b"\x61" + bytes([min(len(self._rest), 255)]) if self._rest else _OK)

    def _verify(self, data: bytes) -> bytes:
        self._verified = data == self.pin.encode()
        if self._verified:
            return _OK
        self.wrong_pins += 1
        return b"\x63\xc2"

    def _sign(self, digest_info: bytes) -> bytes:
        """PKCS #1, 1.5 (RFC 8017, 9.2)."""
        size = (self.key.modulus.bit_length() + 7) // 8
        padded = b"\x00\x01".ljust(size - len(digest_info) - 1, b"\xff") + b"\x00" + digest_info
        self.signatures += 1
        signature = pow(int.from_bytes(padded, "big"), self.key.private, self.key.modulus)
        return self._part(signature.to_bytes(size, "big"))


@contextmanager
def inserted(card: Card, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The card is in a reader that programs of this process's environment find, and nobody else."""
    for program in ("pcscd", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not DRIVER.exists():
        pytest.skip(f"{DRIVER} is missing (Debian's vsmartcard-vpcd)")
    reader = f'FRIENDLYNAME "Emulated"\nDEVICENAME /dev/null:{_PORT}\nLIBPATH {DRIVER}\nCHANNELID {_PORT}\n'
    (place / "reader.conf").write_text(reader)
    # Its socket and its process id have fixed names: they are on a file system of its own.
    script = 'mount -t tmpfs tmpfs /run && mkdir /run/pcscd && exec pcscd --foreground --config "$1"'
    with host_namespace():
        daemon = subprocess.Popen(["unshare", "--mount", "sh", "-c", script, "sh", place / "reader.conf"])
        monkeypatch.setenv("PCSCLITE_CSOCK_NAME", f"/proc/{daemon.pid}/root/run/pcscd/pcscd.comm")
        try:
            with _connect(daemon) as connection:
                seen = threading.Event()
                service = threading.Thread(target=_serve, args=(connection, card, seen))
                service.start()
                try:
                    assert seen.wait(TIMEOUT), "pcscd does not see the card"
                    yield
                finally:
                    connection.shutdown(socket.SHUT_RDWR)
                    service.join()
        finally:
            daemon.terminate()
            daemon.wait()


def answers_pin(home: Path, pin: str) -> None:
    """Have the agents of a home ask a program for PINs that knows one, in place of a dialog (Assuan)."""
    program = home / "pinentry"
    script = f"""#!/bin/sh
echo OK
while read -r command rest; do
    [ "$command" = GETPIN ] && echo "D {pin}"
    echo OK
done
"""
    program.write_text(script)
    program.chmod(0o700)
    (home / "gpg-agent.conf").write_text(f"pinentry-program {program}\n")


def _connect(daemon: subprocess.Popen[bytes]) -> socket.socket:
    until = time.monotonic() + TIMEOUT
    while True:
        assert daemon.poll() is None and time.monotonic() < until, "pcscd does not work"
        try:
            return socket.create_connection(("127.0.0.1", _PORT))
        except ConnectionRefusedError:
            time.sleep(0.05)


def _serve(connection: socket.socket, card: Card, seen: threading.Event) -> None:
    """Speak the protocol of vpcd: messages after their length, of one byte about power, else commands."""
    powered = False
    with suppress(ConnectionResetError), connection.makefile("rb") as messages:
        while len(size := messages.read(2)) == 2:
            message = messages.read(struct.unpack(">H", size)[0])
            if len(message) == 1 and message != _ASK_ATR:
                card.reset()
                powered = message != _POWER_OFF
                continue
            answer = _ATR if message == _ASK_ATR else card.answer(message)
            connection.sendall(struct.pack(">H", len(answer)) + answer)
            if powered:
                seen.set()
