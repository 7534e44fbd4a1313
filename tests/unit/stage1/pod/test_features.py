"""What an image says of its components."""

from pathlib import Path

import pytest

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.features import feature, word

FILE = "usr/lib/stage1/kernel.json"


def read(root: Path, content: str) -> bool | None:
    file = root / FILE
    file.parent.mkdir(parents=True)
    file.write_text(content)
    return feature(Tree(str(root)), FILE, "patches_itself")


@pytest.mark.parametrize(
    ("content", "value"), [('{"patches_itself": true}', True), ('{"patches_itself": false}', False), ("{}", None)]
)
def test_what_the_file_says(tmp_path: Path, content: str, value: bool | None) -> None:
    assert read(tmp_path, content) is value


def test_an_image_that_says_nothing(tmp_path: Path) -> None:
    assert feature(Tree(str(tmp_path)), FILE, "patches_itself") is None


@pytest.mark.parametrize("content", ["[]", "{", "[" * 3000, '{"patches_itself": 1}', '{"a": "' + "b" * 5000 + '"}'])
def test_a_damaged_file_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"kernel\.json"):
        read(tmp_path, content)


def test_a_word(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    file.write_text('{"machine": "virt", "cpu": ""}')
    assert word(Tree(str(tmp_path)), FILE, "machine") == "virt"
    for name in ("cpu", "board"):
        with pytest.raises(UserError, match=f"{FILE} does not say {name}"):
            word(Tree(str(tmp_path)), FILE, name)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text('{"patches_itself": true}')
    folder = tmp_path / "image/usr/lib/stage1"
    folder.mkdir(parents=True)
    (folder / "kernel.json").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="symbolic links"):
        feature(Tree(str(tmp_path / "image")), FILE, "patches_itself")
