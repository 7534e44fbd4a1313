from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.image_server import Site, serve
from tests.support.openpgp import need_gpg, scratch_home
from tests.support.signers import Signers
from tests.support.stub_stage1 import Rkt


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serve(tmp_path, monkeypatch) as site:
        yield site


@pytest.fixture(scope="session")
def signers() -> Iterator[Signers]:
    need_gpg()
    with scratch_home() as home:
        yield Signers(home)


@pytest.fixture
def rkt(tmp_path: Path) -> Rkt:
    return Rkt(tmp_path)
