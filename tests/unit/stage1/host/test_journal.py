from pathlib import Path

import pytest

from stage1.host.errors import UserError
from stage1.host.journal import link_journal, remove_journal_link

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
MACHINE = UUID.replace("-", "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host that runs systemd and keeps journals; the working directory is a pod's."""
    for name in ("systemd", "journal", "pod"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "pod")
    return tmp_path


def link(host: Path) -> None:
    link_journal(UUID, str(host / "journal"), str(host / "systemd"))


def test_the_journal_is_linked_again_and_again_and_removed(host: Path) -> None:
    made = host / "journal" / MACHINE
    made.symlink_to("/elsewhere")
    for _ in range(2):
        link(host)
        assert made.readlink() == host / "pod/stage1/rootfs/var/log/journal" / MACHINE
    for _ in range(2):
        remove_journal_link(UUID, str(host / "journal"))
        assert not made.is_symlink()


@pytest.mark.parametrize("missing", ["systemd", "journal"])
def test_a_host_without_systemd_or_without_journals(host: Path, missing: str) -> None:
    (host / missing).rmdir()
    link(host)
    assert list(host.glob("journal/*")) == []


def test_a_journal_of_the_host_stays(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = host / "journal" / MACHINE
    own.mkdir()
    link(host)
    assert own.is_dir()
    assert "warning" in capsys.readouterr().err
    remove_journal_link(UUID, str(host / "journal"))
    assert own.is_dir()


def test_a_link_that_stays_is_an_error(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link(host)

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.unlink", refuse)
    with pytest.raises(UserError, match="cannot remove"):
        remove_journal_link(UUID, str(host / "journal"))
