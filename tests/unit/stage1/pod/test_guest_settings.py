from __future__ import annotations

from pathlib import Path

import pytest

from stage1.commands.arguments import parse_run
from stage1.commands.run import requests
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.guest_settings import SETTINGS, GuestSettings, Isolation, load_guest_settings

UUID = "5e3b9f0c-6d5c-4b6e-8d11-3c6a1f0e7a55"


def image(folder: Path, content: str) -> Tree:
    path = folder / SETTINGS
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return Tree(str(folder))


@pytest.mark.parametrize(
    ("content", "rules"),
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
def test_the_rules_of_a_flavor(tmp_path: Path, content: str, rules: GuestSettings) -> None:
    assert load_guest_settings(image(tmp_path, content)) == rules


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
def test_rules_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_guest_settings(image(tmp_path, content))


def test_a_guest_without_networks() -> None:
    without = GuestSettings(network=False)
    for words in (["--net=default"], ["--net=none"], []):
        assert requests(parse_run([*words, UUID]), without) == ()
    assert [request.name for request in requests(parse_run(["--net=default", UUID]), GuestSettings())] == ["default"]
    with pytest.raises(UserError, match="--net: this stage1 was built without networks"):
        requests(parse_run(["--net=default,user", UUID]), without)
