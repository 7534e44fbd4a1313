"""Devices in the control groups of a container, by either version's means. The kernel judges."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stage1.container.device_rules import limit_by_lists, limit_by_program
from stage1.container.groups import FILE, make_groups, remove_groups
from stage1.host import syscalls
from stage1.host.paths import Tree

PROJECT = Path(__file__).parents[4]
UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c9"
GROUPS = Path("/sys/fs/cgroup")
PROGRAM, LISTS = "limit_by_program", "limit_by_lists"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="control groups and device nodes need root")

# Enter a group, and say of each device what mknod and an open of another one's node mean: "made", "opened" or neither.
_TRY = """if True:
    import os, stat, sys
    group, place, nodes = sys.argv[1:4]
    open(group + "/cgroup.procs", "w").write(str(os.getpid()))
    for word in sys.argv[4:]:
        kind, major, minor = word.split(":")
        done = []
        mode = 0o600 | (stat.S_IFBLK if kind == "b" else stat.S_IFCHR)
        try:
            os.mknod(place + "/" + word, mode, os.makedev(int(major), int(minor)))
            done.append("made")
        except PermissionError:
            pass
        try:
            os.close(os.open(nodes + "/" + word, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY))
            done.append("opened")
        except PermissionError:
            pass
        except OSError:
            # No such device, or none that can be opened now: it is the driver that says so.
            done.append("opened")
        print(word, *done)
    os.mkfifo(place + "/fifo")
"""
ALLOWED = ("c:1:3", "c:1:5", "c:1:7", "c:1:8", "c:1:9", "c:5:0", "c:5:2", "c:136:5", "c:136:77777", "c:10:200")
# Memory, a terminal of the host's, disks, and devices whose numbers are those of allowed ones in part.
REFUSED = (
    *("c:1:1", "c:1:11", "c:4:64", "c:10:229", "b:7:0", "b:8:0"),
    *("b:1:3", "b:136:0", "c:137:0", "c:257:3", "c:1:259"),
)


def group_of(kind: str) -> Path:
    """A group that rules can be given to, made anew."""
    roots = {PROGRAM: (GROUPS / "unified", GROUPS), LISTS: (GROUPS / "devices",)}[kind]
    mark = {PROGRAM: "cgroup.controllers", LISTS: "devices.list"}[kind]
    for root in roots:
        if (root / "cgroup.procs").exists() and ((root / mark).exists()):
            group = root / f"test-devices-{os.getpid()}"
            group.mkdir()
            return group
    pytest.skip("the host has no such control groups")


@pytest.fixture(params=[PROGRAM, LISTS])
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    made = group_of(request.param)
    try:
        try:
            {PROGRAM: limit_by_program, LISTS: limit_by_lists}[request.param](str(made))
        except OSError as error:
            pytest.skip(f"the kernel has none of it: {error}")
        yield made
    finally:
        made.rmdir()


def tried(group: Path, place: Path, words: tuple[str, ...]) -> dict[str, set[str]]:
    nodes = place / "nodes"
    own = place / "own"
    for folder in (nodes, own):
        folder.mkdir()
    for word in words:
        kind, major, minor = word.split(":")
        os.mknod(nodes / word, 0o600 | (0o60000 if kind == "b" else 0o20000), os.makedev(int(major), int(minor)))
    argv = [sys.executable, "-c", _TRY, str(group), str(own), str(nodes), *words]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    return {line.split()[0]: set(line.split()[1:]) for line in done.stdout.splitlines()}


def test_the_devices_of_apps_can_be_made_and_opened(group: Path, tmp_path: Path) -> None:
    assert tried(group, tmp_path, ALLOWED) == {word: {"made", "opened"} for word in ALLOWED}


def test_others_can_be_neither_made_nor_opened(group: Path, tmp_path: Path) -> None:
    assert tried(group, tmp_path, REFUSED) == {word: set() for word in REFUSED}


def test_an_overlay_may_leave_a_mark_where_something_was_removed(group: Path, tmp_path: Path) -> None:
    assert "made" in tried(group, tmp_path, ("c:0:0",))["c:0:0"]


@pytest.mark.parametrize("without", [None, PROGRAM, "both"])
def test_the_groups_of_a_pod_have_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str | None) -> None:
    if not os.access(GROUPS, os.W_OK):
        pytest.skip("control groups cannot be made here")

    def refuse(group: str) -> None:
        raise PermissionError(1, "Operation not permitted", group)

    pod = Tree(str(tmp_path))
    if without:
        monkeypatch.setattr("stage1.container.groups.limit_by_program", refuse)
    if without == "both":
        monkeypatch.setattr("stage1.container.groups.limit_by_lists", refuse)
    ruled = make_groups(UUID, pod)
    try:
        groups = [Path(line) for line in (tmp_path / FILE).read_text().splitlines()]
        assert groups and all(path.is_dir() for path in groups)
        if without == "both":
            assert not ruled
        if ruled:
            refused = [path for path in groups if not tried_in(path, tmp_path)]
            assert len(refused) == 1, "one hierarchy has the rules"
    finally:
        remove_groups(UUID, pod)
    assert not any(path.exists() for path in groups)


def tried_in(group: Path, place: Path) -> bool:
    """Whether a disk can be made in a group."""
    scratch = place / group.parts[-2]
    scratch.mkdir()
    return bool(tried(group, scratch, ("b:7:0",))["b:7:0"])


def test_a_processor_whose_number_of_the_call_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "_BPF", {})
    with pytest.raises(OSError, match="not implemented"):
        limit_by_program("/")
