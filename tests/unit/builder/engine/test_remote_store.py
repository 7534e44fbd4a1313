"""What a server that means harm, or is broken, can do: nothing."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from builder.engine.remote_store import RemoteCache
from builder.engine.store import Entry, Store, make_record

NAME, FINGERPRINT = "step-1", "f" * 64


@dataclass
class Answer:
    content: bytes
    status_code: int = 200

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def iter_content(self, size: int) -> list[bytes]:
        return [self.content[start : start + 1000] for start in range(0, len(self.content), 1000)]

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise requests.HTTPError(f"status {self.status_code}")


@dataclass
class Server:
    """The place of a session of requests."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failure: Exception | None = None
    read_only: bool = False

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get(self, url: str, **_: object) -> Answer:
        self.asked.append(url)
        if self.failure:
            raise self.failure
        return Answer(self.files[url]) if url in self.files else Answer(b"", 404)

    def put(self, url: str, data: Any, **_: object) -> Answer:
        self.asked.append(url)
        if self.failure:
            raise self.failure
        if self.read_only:
            return Answer(b"", 403)
        self.files[url] = data if isinstance(data, bytes) else data.read()
        return Answer(b"")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(RemoteCache, "_session", lambda self: made)
    return made


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cache(said: list[str]) -> RemoteCache:
    return RemoteCache("http://cache", True, said.append)


def made(store: Store) -> Entry:
    """An entry with files, links and modes."""
    partial = store.begin(NAME, FINGERPRINT)
    output = partial / "output"
    (output / "usr/bin").mkdir(parents=True)
    (output / "usr/bin/x").write_bytes(b"x" * 5000)
    (output / "usr/bin/x").chmod(0o4755)
    (output / "usr/bin/y").hardlink_to(output / "usr/bin/x")
    (output / "bin").symlink_to("/usr/bin")
    (output / "closed").mkdir()
    (output / "closed/file").touch()
    (output / "closed").chmod(0o555)
    record = make_record(partial, seconds=1, cpu_seconds=2, facts={"a": 1}, components={}, listings={})
    return store.land(partial, NAME, FINGERPRINT, record)


def test_another_machine_gets_the_same(tmp_path: Path, server: Server, cache: RemoteCache, said: list[str]) -> None:
    entry = made(Store(tmp_path / "one"))
    cache.push(entry, tmp_path / "scratch")
    other = Store(tmp_path / "two")
    got = cache.fetch(other, NAME, FINGERPRINT)
    assert got is not None and got.record == entry.record
    assert (got.output / "usr/bin/x").stat().st_mode & 0o7777 == 0o4755
    assert (got.output / "usr/bin/y").read_bytes() == b"x" * 5000
    assert (got.output / "bin").readlink() == Path("/usr/bin")
    assert other.find(NAME, FINGERPRINT) == got
    assert said == [] and not (tmp_path / "scratch").exists()


def test_the_same_output_is_the_same_archive(tmp_path: Path, server: Server, cache: RemoteCache) -> None:
    for name in ("one", "two"):
        cache.push(made(Store(tmp_path / name)), tmp_path / "scratch")
    assert len({url for url in server.files if "/cas/" in url}) == 1


def test_what_nobody_made(tmp_path: Path, server: Server, cache: RemoteCache, said: list[str]) -> None:
    store = Store(tmp_path)
    assert cache.fetch(store, NAME, FINGERPRINT) is None
    assert said == [] and not list((tmp_path / "steps" / NAME).iterdir())


def test_only_those_who_may_write_do(tmp_path: Path, server: Server, said: list[str]) -> None:
    RemoteCache("http://cache", False, said.append).push(made(Store(tmp_path)), tmp_path / "scratch")
    assert server.asked == []


def test_a_server_that_is_gone_is_asked_once(
    tmp_path: Path, server: Server, cache: RemoteCache, said: list[str]
) -> None:
    server.failure = requests.ConnectionError("refused")
    store = Store(tmp_path)
    assert cache.fetch(store, NAME, FINGERPRINT) is None
    assert cache.fetch(store, "other", FINGERPRINT) is None
    cache.push(made(store), tmp_path / "scratch")
    assert said == ["the remote cache http://cache does not answer: going on without it"]
    assert len(server.asked) == 1


def test_a_server_that_takes_nothing(tmp_path: Path, server: Server, cache: RemoteCache, said: list[str]) -> None:
    server.read_only = True
    cache.push(made(Store(tmp_path)), tmp_path / "scratch")
    assert said == [f"{NAME} is not put into the remote cache: status 403"]
    assert server.files == {}


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def archive(*members: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for entry in members:
            tar.addfile(entry, io.BytesIO(b""))
    return stream.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside")],
        [member("/outside")],
        [member("a/../../outside")],
        [member("link", tarfile.SYMTYPE, ".."), member("link/outside")],
        [member("outside", tarfile.LNKTYPE, "../../../../outside")],
        [member("pipe", tarfile.FIFOTYPE)],
        [member("device", tarfile.CHRTYPE)],
        [member("twice"), member("twice")],
    ],
)
def test_archives_that_lead_elsewhere(
    tmp_path: Path, server: Server, cache: RemoteCache, said: list[str], members: list[tarfile.TarInfo]
) -> None:
    cache.push(made(Store(tmp_path / "one")), tmp_path / "scratch")
    replace_archive(server, archive(*members))
    store = Store(tmp_path / "two")
    assert cache.fetch(store, NAME, FINGERPRINT) is None
    assert store.find(NAME, FINGERPRINT) is None
    assert not list(tmp_path.rglob("outside"))
    assert len(said) == 1 and f"{NAME} is not taken from the remote cache" in said[0]


def replace_archive(server: Server, content: bytes) -> None:
    """Put another archive into the place of the one, with a record that fits it."""
    (place,) = (url for url in server.files if "/ac/" in url)
    digest = hashlib.sha256(content).hexdigest()
    server.files[f"http://cache/cas/{digest}"] = content
    head = json.loads(server.files[place]) | {"archive": digest, "size": len(content)}
    server.files[place] = json.dumps(head).encode()


def change(**changes: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda head: head | changes


@pytest.mark.parametrize(
    "damage",
    [
        change(archive="../../x"),
        change(archive="0" * 64),
        change(size=1),
        change(record={}),
        lambda head: {},
        lambda head: head | {"record": head["record"] | {"digest": "0" * 64}},
    ],
)
def test_records_that_say_something_else(
    tmp_path: Path,
    server: Server,
    cache: RemoteCache,
    said: list[str],
    damage: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    cache.push(made(Store(tmp_path / "one")), tmp_path / "scratch")
    (place,) = (url for url in server.files if "/ac/" in url)
    server.files[place] = json.dumps(damage(json.loads(server.files[place]))).encode()
    assert cache.fetch(Store(tmp_path / "two"), NAME, FINGERPRINT) is None
    assert len(said) == 1


@pytest.mark.parametrize("content", [b"", b"<html>", b"[" * 100000, b"null"])
def test_what_is_no_record(tmp_path: Path, server: Server, cache: RemoteCache, said: list[str], content: bytes) -> None:
    cache.push(made(Store(tmp_path / "one")), tmp_path / "scratch")
    (place,) = (url for url in server.files if "/ac/" in url)
    server.files[place] = content
    assert cache.fetch(Store(tmp_path / "two"), NAME, FINGERPRINT) is None
    assert len(said) == 1
