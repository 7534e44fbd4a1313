"""The section of CHANGELOG.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.release.notes import changes_of
from common.errors import UserError

TEXT = """# Changelog

## 1.32.0 (2027-01-01)

### Added

- A thing.

## [1.31.0]

- Another.

## 1.30.0-rc1

"""


@pytest.mark.parametrize(("version", "text"), [("1.32.0", "### Added\n\n- A thing."), ("1.31.0", "- Another.")])
def test_the_section_of_a_version(tmp_path: Path, version: str, text: str) -> None:
    (tmp_path / "CHANGELOG.md").write_text(TEXT)
    assert changes_of(tmp_path / "CHANGELOG.md", version) == text


@pytest.mark.parametrize("version", ["1.3", "1.30.0", "1.30.0-rc1", "1x31.0"])
def test_a_version_that_nothing_is_said_of(tmp_path: Path, version: str) -> None:
    (tmp_path / "CHANGELOG.md").write_text(TEXT)
    with pytest.raises(UserError, match=f"says nothing of {version}"):
        changes_of(tmp_path / "CHANGELOG.md", version)
