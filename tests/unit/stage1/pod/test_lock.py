import fcntl
import os
from pathlib import Path

import pytest

from stage1.host.errors import UserError
from stage1.pod.lock import inherited_lock, is_locked, keep_across_exec


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lock_is_kept_from_helpers_until_the_end(pod: Path) -> None:
    descriptor = os.open(pod, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        assert inherited_lock({"RKT_LOCK_FD": str(descriptor)}) == descriptor
        assert not os.get_inheritable(descriptor)
        keep_across_exec(descriptor)
        assert os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_no_lock_is_no_error(pod: Path) -> None:
    assert inherited_lock({}) is None
    keep_across_exec(None)


@pytest.mark.parametrize("text", ["x", "-1", "987654", "9" * 30])
def test_what_is_no_descriptor(pod: Path, text: str) -> None:
    with pytest.raises(UserError, match="RKT_LOCK_FD"):
        inherited_lock({"RKT_LOCK_FD": text})


def test_a_descriptor_of_something_else(pod: Path) -> None:
    descriptor = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(UserError, match="not an open descriptor of the pod directory"):
            inherited_lock({"RKT_LOCK_FD": str(descriptor)})
    finally:
        os.close(descriptor)


def test_whether_a_pod_is_locked(pod: Path) -> None:
    assert not is_locked(str(pod))
    descriptor = os.open(pod, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert is_locked(str(pod))
    os.close(descriptor)
    assert not is_locked(str(pod))
