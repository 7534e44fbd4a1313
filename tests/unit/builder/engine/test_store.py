from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.engine.store import Entry, Store, locked, make_record, remove
from common.errors import UserError
from tests.support.deep import cleared, nest

FINGERPRINT = "ab" * 32
OTHER = "cd" * 32


def no_wait(seconds: float) -> None:
    raise AssertionError("nobody else holds the lock")


class Busy(Exception):
    pass


def refuse(seconds: float) -> None:
    raise Busy


def fill(store: Store, fingerprint: str = FINGERPRINT, text: str = "text") -> Entry:
    with store.lock("kernel", fingerprint, no_wait):
        partial = store.begin("kernel", fingerprint)
        (partial / "output" / "file").write_text(text)
        record = make_record(partial, seconds=1.5, cpu_seconds=3.0, facts={"n": 1}, components={}, listings={})
        return store.land(partial, "kernel", fingerprint, record)


def names(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "steps" / "kernel").iterdir())


def test_entry_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find("kernel", FINGERPRINT) is None
    entry = fill(store)
    assert store.find("kernel", FINGERPRINT) == entry
    assert (entry.output / "file").read_text() == "text"
    assert (entry.record.size, entry.record.facts) == (4, {"n": 1})
    assert names(store) == [FINGERPRINT]
    assert list((tmp_path / "locks").iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0}', '{"format": 1}'])
def test_entry_with_a_broken_record_is_made_again(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    (fill(store).path / "step.json").write_text(text)
    assert store.find("kernel", FINGERPRINT) is None
    assert (fill(store, text="new").output / "file").read_text() == "new"


def test_what_is_unfinished_is_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("kernel", FINGERPRINT, no_wait):
        store.begin("kernel", FINGERPRINT)
        assert store.find("kernel", FINGERPRINT) is None
        assert store.entries() == []


def test_lock_keeps_others_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("kernel", FINGERPRINT, no_wait):
        with pytest.raises(Busy), store.lock("kernel", FINGERPRINT, refuse):
            pass
        with store.lock("kernel", OTHER, no_wait):
            pass
    with store.lock("kernel", FINGERPRINT, no_wait):
        pass


def test_lock_file_replaced_while_waiting(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)

    def finish(seconds: float) -> None:
        """The holder removes the file and lets go; a third process makes the file anew."""
        path.unlink()
        path.touch()
        os.close(holder)

    with locked(path, finish) as descriptor:
        assert os.path.samestat(os.fstat(descriptor), path.stat())


def test_inherited_lock_outlives_its_maker(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("kernel", FINGERPRINT, no_wait) as descriptor:
        orphan = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(descriptor,))
        store.begin("kernel", FINGERPRINT)
    try:
        with pytest.raises(Busy), store.lock("kernel", FINGERPRINT, refuse):
            pass
        fill(store, OTHER)
        assert names(store) == sorted([OTHER, f".{FINGERPRINT}.partial"])
    finally:
        orphan.communicate()
    fill(store, "ef" * 32)
    assert f".{FINGERPRINT}.partial" not in names(store)


def test_use_is_noted_once_an_hour(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = fill(store)
    lately = time.time() - 60
    os.utime(entry.path, (lately, lately))
    store.touch(entry)
    assert entry.path.stat().st_mtime == pytest.approx(lately)
    os.utime(entry.path, (0, 0))
    store.touch(entry)
    assert entry.path.stat().st_mtime > lately


def test_cleaning_removes_what_is_old_and_unfinished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = fill(store), fill(store, OTHER)
    os.utime(old.path, (0, 0))
    with store.lock("kernel", "ef" * 32, no_wait):
        store.begin("kernel", "ef" * 32)
    assert store.clean(time.time() - 86400) == [old]
    assert names(store) == [OTHER]
    assert store.entries() == [new]
    store.clean(time.time() + 86400)
    assert list((tmp_path / "steps").iterdir()) == []
    assert [path.name for path in (tmp_path / "locks").iterdir()] == [".use"]


def test_cleaning_waits_for_no_build(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    with store.in_use(no_wait), store.in_use(no_wait), pytest.raises(UserError, match="in use by a build"):
        store.clean(time.time() + 86400)
    assert len(store.entries()) == 1


def test_cleaning_no_cache_at_all(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").clean(time.time()) == []
    assert not (tmp_path / "none").exists()


def test_directories_without_permissions_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "c").touch()
    folder.chmod(0o555)
    (tmp_path / "a").chmod(0o500)
    code = "import sys; from pathlib import Path; from builder.engine.store import remove; remove(Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, os.fspath(tmp_path / "a")]
    if os.getuid() == 0:  # permissions count for root only without its capabilities
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv (util-linux), or to run as another user than root")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[4])
    assert list(tmp_path.iterdir()) == []


def test_however_deep_the_directories_of_an_archive_were_they_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with cleared(tmp_path / "a"):
        nest(tmp_path / "a", 1500)
        remove(tmp_path / "a")
        assert list(tmp_path.iterdir()) == []


def test_record_is_one_line_of_json(tmp_path: Path) -> None:
    text = (fill(Store(tmp_path)).path / "step.json").read_text()
    assert json.loads(text)["seconds"] == 1.5
    assert text.count("\n") == 1
