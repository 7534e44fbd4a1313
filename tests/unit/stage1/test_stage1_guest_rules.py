from __future__ import annotations

from pathlib import Path

import pytest

from stage1.arguments import parse_run
from stage1.errors import UserError
from stage1.guest_rules import RULES, GuestRules, Isolation, load_guest_rules
from stage1.paths import Tree
from stage1.run import requests

UUID = "5e3b9f0c-6d5c-4b6e-8d11-3c6a1f0e7a55"


def image(folder: Path, content: str) -> Tree:
    path = folder / RULES
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return Tree(str(folder))


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        ("{}", GuestRules()),
        ('{"journal": true, "network": true, "kernel_parameters": []}', GuestRules()),
        ('{"isolation": "container", "flavor": "coreos"}', GuestRules(isolation=Isolation.CONTAINER, flavor="coreos")),
        ('{"journal": false, "network": false, "kernel_parameters": ["a"]}', GuestRules(False, False, ("a",))),
    ],
)
def test_the_rules_of_a_flavor(tmp_path: Path, content: str, rules: GuestRules) -> None:
    assert load_guest_rules(image(tmp_path, content)) == rules


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
        load_guest_rules(image(tmp_path, content))


def test_a_guest_without_networks() -> None:
    without = GuestRules(network=False)
    for words in (["--net=default"], ["--net=none"], []):
        assert requests(parse_run([*words, UUID]), without) == ()
    assert [request.name for request in requests(parse_run(["--net=default", UUID]), GuestRules())] == ["default"]
    with pytest.raises(UserError, match="--net: this stage1 was built without networks"):
        requests(parse_run(["--net=default,user", UUID]), without)
