"""Pods beside those of the original: what one program makes, the other lists, runs and removes.

Needs rkt 1.30 itself, which MKSTAGE1_RKT names.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.version import VERSION
from tests.support.acis import aci, manifest
from tests.support.original import ORIGINAL, needs_original
from tests.support.stub_stage1 import APP, Call, Rkt

pytestmark = [
    needs_original,
    pytest.mark.skipif(os.geteuid() != 0, reason="pods of the original need root"),
]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

FULL_APP = APP | {
    "isolators": [
        {"name": "resource/memory", "value": {"limit": "1G"}},
        {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
        {"name": "os/linux/seccomp-remove-set", "value": {"set": ["@docker/default-blacklist"], "errno": "EPERM"}},
    ],
    "eventHandlers": [{"name": "pre-start", "exec": ["/bin/pre"]}],
    "mountPoints": [{"name": "data", "path": "/data", "readOnly": True}, {"name": "x", "path": "/x"}],
    "userAnnotations": {"b": "1", "a": "2"},
    "workingDirectory": "/w",
}
COMMAND_LINES = [
    "full",
    "full --exec=/bin/z -- a b --- plain --exec /bin/sh -- -c 'echo <&>' ",
    "--volume=v,kind=host,source=/tmp,readOnly=true,recursive=false --mount=volume=v,target=/v full plain --exec=/x "
    "--mount=volume=v,target=/v/../w",
    "--volume=e,kind=empty,mode=0700,uid=1,gid=2 full --mount volume=e,target=/a%20b",
    "--port=web:8080 --port=dns:127.0.0.1:53 full",
    "full --memory=0.5Gi --cpu=1500m --cpu-shares=2048 --oom-score-adj=-5",
    "full --memory=1048576 --cpu=2",
    "full --caps-remove=CAP_MKNOD,CAP_KILL --seccomp mode=retain,errno=EPERM,chmod,chown",
    "full --caps-retain=CAP_KILL --seccomp mode=remove,@rkt/default-blacklist",
    "full --user=1 --group=2 --supplementary-gids=7,8 --name=foo --working-dir=/q --readonly-rootfs=true",
    "full --annotation=x=y=z --user-annotation=c=d --user-label=l= --environment=A=own",
    "--set-env=A=1 full --set-env B=2",
]


class Pair:
    """The program and the original, with a data directory each and the same images."""

    def __init__(self, place: Path) -> None:
        self.ours, self.original = Rkt(place / "ours"), Rkt(place / "original", (ORIGINAL,))
        for rkt in (self.ours, self.original):
            rkt.place.mkdir()
            aci(rkt.place / "full", manifest=manifest("example.com/full", version="1", app=FULL_APP)).rename(
                rkt.place / "full.aci"
            )
            aci(rkt.place / "plain", manifest=manifest("example.com/plain_one")).rename(rkt.place / "plain.aci")

    def prepare(self, rkt: Rkt, line: str, *flags: str) -> Path:
        import shlex

        words = [str(rkt.place / f"{word}.aci") if word in ("full", "plain") else word for word in shlex.split(line)]
        uuid = rkt("prepare", "--quiet", *flags, f"--stage1-path={rkt.stage1}", *words)[0].strip()
        return rkt.pods / "prepared" / uuid


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def tree(pod: Path) -> dict[str, tuple[int, int, int, str]]:
    """Mode, owner and content of each file, without what must differ: the record of calls has its own place."""
    found = {}
    for path in sorted(pod.rglob("*")):
        status = path.lstat()
        is_text = path.is_file() and not path.is_symlink() and path.parent != pod / "stage1/rootfs"
        content = path.read_text() if is_text else str(path.readlink()) if path.is_symlink() else ""
        found[str(path.relative_to(pod))] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def same(text: str, rkt: Rkt) -> str:
    """Text without what differs between the two: version, place, UUID."""
    text = text.replace('"acVersion":"1.30.0"', f'"acVersion":"{VERSION}"').replace(str(rkt.place), "PLACE")
    return _UUID.sub("UUID", text)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_the_manifests_are_the_same_to_the_byte(pair: Pair, line: str) -> None:
    ours, original = (same((pair.prepare(rkt, line) / "pod").read_text(), rkt) for rkt in (pair.ours, pair.original))
    assert ours == original


@pytest.mark.parametrize("flags", [(), ("--no-overlay",)])
def test_the_directories_are_the_same(pair: Pair, flags: tuple[str, ...]) -> None:
    found = []
    for rkt in (pair.ours, pair.original):
        entries = tree(pair.prepare(rkt, "full plain --exec=/x", *flags))
        # The images differ in where their programs record calls, and so in their IDs.
        entries["stage1TreeStoreID"] = (*entries["stage1TreeStoreID"][:3], "")
        entries["pod"] = (*entries["pod"][:3], same(entries["pod"][3], rkt))
        found.append(entries)
    assert found[0] == found[1]


_quantities = st.builds(
    lambda number, suffix: f"{number}{suffix}",
    st.one_of(st.integers(1, 10**7).map(str), st.decimals("0.001", "9999", places=3).map(str)),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3"]),
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(quantities=st.lists(_quantities, min_size=20, max_size=20))
def test_amounts_are_written_as_the_original_writes_them(pair: Pair, quantities: list[str]) -> None:
    line = " ".join(f"plain --name=a{number} --exec=/x --cpu={text}" for number, text in enumerate(quantities))
    ours, original = (
        json.loads((pair.prepare(rkt, line, "--no-overlay") / "pod").read_text()) for rkt in (pair.ours, pair.original)
    )
    assert [app["app"]["isolators"] for app in ours["apps"]] == [app["app"]["isolators"] for app in original["apps"]]


def test_stage1_is_called_in_the_same_way(pair: Pair) -> None:
    words = "--hostname=h --dns=8.8.8.8,1.1.1.1 --dns-search=a.b --hosts-entry=1.2.3.4=x --interactive --ipc=private"
    calls: list[list[Any]] = []
    for rkt in (pair.ours, pair.original):
        options = ("--debug", "--insecure-options=image,paths,seccomp", "run", *words.split())
        rkt(*options, "--net=a:b=c;d=e", f"--stage1-path={rkt.stage1}", rkt.place / "full.aci")
        rkt("--debug", "gc")
        rkt("--debug", "gc", "--grace-period=0s")
        calls.append([described(rkt, call) for name in ("run", "gc") for call in rkt.calls(name)])
    assert calls[0] == calls[1]
    assert len(calls[0]) == 2


def described(rkt: Rkt, call: Call) -> tuple[list[str], str, str, dict[str, str]]:
    own = {"_", "RKT_LOCK_FD", "PWD", "OLDPWD"}
    environment = {name: same(value, rkt) for name, value in call.environment.items() if name not in own}
    return [same(word, rkt) for word in call.argv], same(call.cwd, rkt), same(call.lock or "", rkt), environment


@pytest.mark.parametrize("flags", [(), ("--no-overlay",)])
@pytest.mark.parametrize("order", [1, -1])
def test_a_pod_of_one_is_run_looked_at_and_removed_by_the_other(pair: Pair, flags: tuple[str, ...], order: int) -> None:
    maker, other = (pair.ours, pair.original)[::order]
    other = Rkt(maker.place, other.program)
    uuid = pair.prepare(maker, "full plain --exec=/x", *flags).name
    both: Callable[..., list[str]] = lambda *words: [rkt(*words)[0] for rkt in (maker, other)]  # noqa: E731

    def check() -> None:
        for words in (
            ("list", "--full"),
            ("list", "--full", "--no-legend"),
            ("list", "--format=json"),
            ("status", uuid),
            ("status", "--format=json-pretty", uuid),
            ("cat-manifest", uuid),
            ("cat-manifest", "--pretty-print=false", uuid),
        ):
            one, two = both(*words)
            assert sorted(one.splitlines()) == sorted(two.splitlines()), words

    check()
    other("run-prepared", "--net=none", uuid)
    check()
    maker("gc", "--mark-only")
    check()
    assert other("rm", uuid)[0] == f'"{uuid}"\n'
    assert other("list", "--no-legend")[0].strip() == ""
    assert len(maker.calls("gc")) == 1


def test_the_configuration_is_shown_in_the_same_way(pair: Pair, tmp_path: Path) -> None:
    credentials = {"user": "u", "password": "<p>"}
    documents: dict[str, dict[str, Any]] = {
        "auth.d/a": {"rktKind": "auth", "domains": ["a.com"], "type": "basic", "credentials": credentials},
        "auth.d/b": {"rktKind": "dockerAuth", "registries": ["b.com"], "credentials": credentials},
        "paths.d/c": {"rktKind": "paths", "data": "/data", "stage1-images": "/images"},
        "stage1.d/d": {"rktKind": "stage1", "name": "a.com/b", "version": "1", "location": "/x.aci"},
    }
    for name, document in documents.items():
        path = tmp_path / "config" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document | {"rktVersion": "v1"}))
    for flag in ("--pretty-print", "--pretty-print=false"):
        ours, original = (
            rkt(f"--local-config={tmp_path}/config", "config", flag)[0] for rkt in (pair.ours, pair.original)
        )
        assert ours == original
