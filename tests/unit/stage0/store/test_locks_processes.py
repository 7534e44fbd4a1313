"""Many processes on one store, and processes that are killed in the middle of their work."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from common.errors import UserError
from stage0.store import ImageId, Store, TreeStore
from tests.support.acis import aci, folder, hard_link, item, manifest, symlink

PROCESSES = 50
STEP = 7
"""Of the calls at which a process could be killed, one in so many is tried."""


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own and return its ID; it ends with status 1 where `work` raises."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def image(path: Path, name: str) -> Path:
    return aci(
        path,
        folder("rootfs/d"),
        item("rootfs/d/f", name.encode() * 1000),
        hard_link("rootfs/d/h", "rootfs/d/f"),
        symlink("rootfs/l", "d"),
        manifest=manifest(f"example.com/{name}"),
        compression="gzip",
    )


def assert_sound(store: Store) -> None:
    """Every image of the index has its file, which is what its ID says."""
    for info in store.list():
        with store.blob(info.id) as blob:
            assert hashlib.sha512(blob.read_bytes()).hexdigest()[:64] == info.id.removeprefix("sha512-")


def test_fifty_processes_lose_nothing(tmp_path: Path) -> None:
    shared = image(tmp_path / "shared.aci", "shared")
    own = [image(tmp_path / f"{number}.aci", f"own-{number}") for number in range(PROCESSES)]

    def work(number: int) -> None:
        with Store(tmp_path / "data") as store:
            trees = TreeStore(store)
            mine = store.import_aci(own[number])
            both = store.import_aci(shared)
            tree_id = trees.render(mine)
            for action in (trees.render, store.remove, store.manifest):
                try:
                    action(both)
                except UserError as error:  # another process has removed it
                    assert "cannot find image" in str(error), error
            store.sweep()
            store.import_aci(shared)
            assert trees.check(tree_id) == ""
            if number % 2:
                store.remove(mine)
                trees.remove(tree_id)

    pids = [fork(lambda number=number: work(number)) for number in range(PROCESSES)]  # type: ignore[misc]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * PROCESSES
    with Store(tmp_path / "data") as store:
        assert_sound(store)
        names = {info.name for info in store.list()}
        kept = {f"example.com/own-{number}" for number in range(0, PROCESSES, 2)}
        assert names - {"example.com/shared"} == kept
        store.sweep()
        assert len(list((tmp_path / "data/cas/images").iterdir())) == len(names)
        assert list((tmp_path / "data/cas/tmp").iterdir()) == []


def killed_at(call: int, work: Callable[[], None]) -> bool:
    """Run `work` in a process that is killed before its `call`th call from code of the store; whether it came to it."""

    def traced() -> None:
        left = call

        def profile(frame: FrameType, event: str, _: object) -> None:
            nonlocal left
            if event in ("call", "c_call") and "stage0/store" in frame.f_code.co_filename:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(profile)
        work()
        sys.setprofile(None)

    status = os.waitstatus_to_exitcode(os.waitpid(fork(traced), 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def import_and_render(data: Path, path: Path) -> None:
    with Store(data) as store:
        TreeStore(store).render(store.import_aci(path))


def remove(data: Path, image_id: ImageId) -> None:
    with Store(data) as store:
        trees = TreeStore(store)
        tree_id = trees.tree_id(image_id)
        store.remove(image_id)
        trees.remove(tree_id)


@pytest.mark.parametrize("fresh", [True, False], ids=["first image", "another image"])
def test_an_import_that_is_killed_leaves_a_usable_store(fresh: bool, tmp_path: Path) -> None:
    path, other = image(tmp_path / "x.aci", "app"), image(tmp_path / "other.aci", "other")
    call, killed = 1, True
    while killed:
        data = tmp_path / f"data-{call}"
        if not fresh:
            import_and_render(data, other)
        killed = killed_at(call, lambda data=data: import_and_render(data, path))  # type: ignore[misc]
        with Store(data) as store:
            assert_sound(store)
            trees = TreeStore(store)
            for info in store.list():
                tree_id = trees.tree_id(info.id)
                assert not trees.is_rendered(tree_id) or trees.check(tree_id) == ""
            store.sweep()
            image_id = store.import_aci(path)
            assert trees.check(trees.render(image_id)) == ""
            assert len(list((data / "cas/images").iterdir())) == len(store.list()) == (1 if fresh else 2)
            assert list((data / "cas/tmp").iterdir()) == []
        call += STEP
    assert call > 150


def test_a_removal_that_is_killed_leaves_a_usable_store(tmp_path: Path) -> None:
    path = image(tmp_path / "x.aci", "app")
    call, killed = 1, True
    while killed:
        data = tmp_path / f"data-{call}"
        with Store(data) as store:
            image_id = store.import_aci(path)
            tree_id = TreeStore(store).render(image_id)
        killed = killed_at(call, lambda data=data, image_id=image_id: remove(data, image_id))  # type: ignore[misc]
        with Store(data) as store:
            trees = TreeStore(store)
            assert_sound(store)
            assert not trees.is_rendered(tree_id) or trees.check(tree_id) == ""
            store.sweep()
            assert len(list((data / "cas/images").iterdir())) == len(store.list())
            assert trees.check(trees.render(store.import_aci(path))) == ""
        call += STEP
    assert call > 60


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    path = aci(tmp_path / "x.aci", item("rootfs/f", os.urandom(4 << 20)), manifest=manifest())

    def work() -> None:
        with Store(tmp_path / "data") as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            with pytest.raises(UserError, match="cannot write to the store: File too large"):
                store.import_aci(path)
            assert store.list() == ()
        assert [*(tmp_path / "data/cas/images").iterdir(), *(tmp_path / "data/cas/tmp").iterdir()] == []

    assert os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1]) == 0
