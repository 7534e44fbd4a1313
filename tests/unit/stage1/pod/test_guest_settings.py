from __future__ import annotations

from pathlib import Path

import pytest

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.guest_settings import SETTINGS, GuestSettings, Isolation, load_guest_settings


def image(folder: Path, content: str) -> Tree:
    path = folder / SETTINGS
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return Tree(str(folder))


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        ("{}", GuestSettings()),
        ('{"journal": true, "network": true, "kernel_parameters": []}', GuestSettings()),
        (
            '{"isolation": "container", "flavor": "coreos"}',
            GuestSettings(isolation=Isolation.CONTAINER, flavor="coreos"),
        ),
        ('{"journal": false, "network": false, "kernel_parameters": ["a"]}', GuestSettings(False, False, ("a",))),
    ],
)
def test_the_settings_of_a_flavor(tmp_path: Path, content: str, settings: GuestSettings) -> None:
    assert load_guest_settings(image(tmp_path, content)) == settings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "guest"),
        ('{"journal": 1}', "guest: journal must be a JSON"),
        ('{"kernel_parameters": [1]}', "guest: kernel_parameters"),
        ("{", "guest: .* is not JSON"),
        ('{"isolation": "hope"}', "isolation: 'hope' is unknown"),
    ],
)
def test_settings_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_guest_settings(image(tmp_path, content))
