from __future__ import annotations

from pathlib import Path

import pytest

from builder.model.config import BuildConfig, DebianOptions
from builder.model.config_view import MEANS, UndeclaredInputError, value_of, view

CONFIG = BuildConfig(Path("/src"), Path("/build"), debian=DebianOptions("bookworm"))


def test_a_step_reads_what_it_declares() -> None:
    seen = view(CONFIG, ("debian.suite",), "kernel")
    assert seen.debian.suite == "bookworm"
    assert (seen.srcdir, seen.downloads.offline) == (Path("/src"), False)


@pytest.mark.parametrize("name", ["debian.mirror", "version", "kernel.source", "bindir_out"])
def test_another_value_is_an_error_that_names_the_step(name: str) -> None:
    seen = view(CONFIG, ("debian.suite",), "kernel")
    with pytest.raises(UndeclaredInputError, match=f"step kernel reads {name} "):
        value_of(seen, name)


def test_every_means_is_a_value_of_the_configuration() -> None:
    for name in MEANS:
        value_of(CONFIG, name)
