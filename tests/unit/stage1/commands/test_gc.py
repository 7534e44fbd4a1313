from pathlib import Path

import pytest

from stage1.commands.gc import gc
from stage1.host.errors import UserError

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


def test_the_journal_link_is_removed_once_and_again(tmp_path: Path) -> None:
    link = tmp_path / UUID.replace("-", "")
    link.symlink_to("/nowhere")
    other = tmp_path / "other"
    other.symlink_to("/nowhere")
    for _ in range(2):
        gc(["--debug", "--local-config", "/etc/rkt", UUID], str(tmp_path))
        assert not link.is_symlink()
    assert other.is_symlink()


def test_the_hosts_own_journal_stays(tmp_path: Path) -> None:
    folder = tmp_path / UUID.replace("-", "")
    folder.mkdir()
    gc([UUID], str(tmp_path))
    assert folder.is_dir()


def test_a_host_without_journals(tmp_path: Path) -> None:
    gc([UUID], str(tmp_path / "missing"))
    assert not (tmp_path / "missing").exists()


def test_an_identity_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="UUID"):
        gc(["../../etc"], str(tmp_path))
