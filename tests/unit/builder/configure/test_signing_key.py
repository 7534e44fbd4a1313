from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builder.configure import signing_key, venv
from common.errors import UserError
from tests.support.openpgp import agents_of, make_key, need_gpg, scratch_home

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check runs in a virtual environment with python-gnupg: here, that of the tests."""
    monkeypatch.setattr(venv, "python", lambda builddir: Path(sys.executable))
    monkeypatch.chdir(ROOT)


def test_a_key_that_can_sign() -> None:
    need_gpg()
    with scratch_home() as home:
        fingerprint = make_key(home, "good <good@example.com>")
        agents = agents_of(home)
        assert signing_key.check(Path("unused"), fingerprint, home) == "good <good@example.com>"
        assert agents_of(home) == agents


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    need_gpg()
    tmp_path.chmod(0o700)
    with pytest.raises(UserError, match=f"signing key {'0' * 40}: .* has no such secret key") as caught:
        signing_key.check(Path("unused"), "0" * 40, tmp_path)
    assert caught.value.hint


def test_the_answer_is_json(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "builder.image.check_key", "0" * 40, str(tmp_path / "nowhere")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{tmp_path}/nowhere" in json.loads(done.stdout)["error"]
