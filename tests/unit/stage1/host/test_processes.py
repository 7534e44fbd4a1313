"""Control groups of processes, on hosts of either version and of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from stage1.host import processes


@pytest.mark.parametrize(
    ("line", "folder", "group"),
    [
        ("0::/system.slice/a.service\n", "", "/system.slice/a.service"),
        ("0::/\n", "", "/"),
        ("5:memory:/a\n", "memory", "/a"),
        ("1:name=systemd:/a\n", "systemd", "/a"),
        ("2:cpu,cpuacct:/a:b\n", "cpu,cpuacct", "/a:b"),
    ],
)
def test_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, folder: str, group: str) -> None:
    monkeypatch.setattr(processes, "CONTROL_GROUPS", str(tmp_path))
    assert processes.control_group(line) == (str(tmp_path / folder), group)


def test_version_2_beside_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CONTROL_GROUPS", str(tmp_path))
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.procs").touch()
    assert processes.control_group("0::/a\n") == (str(tmp_path / "unified"), "/a")
    assert processes.control_group("1:name=systemd:/a\n") == (str(tmp_path / "systemd"), "/a")
