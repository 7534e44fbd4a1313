from pathlib import Path

import pytest

from stage1.apps.executable import find_executable
from stage1.host.errors import UserError
from stage1.host.paths import AppRoot, Tree
from stage1.pod.pod import App


def app(program: str, *, directory: str = "/", path: str | None = None) -> App:
    return App(
        name="web",
        image="",
        arguments=(program, "x"),
        user="0",
        group="0",
        supplementary_gids=(),
        working_directory=directory,
        environment={} if path is None else {"PATH": path},
        isolators={},
    )


@pytest.fixture
def root(tmp_path: Path) -> AppRoot:
    for name in ("usr/bin/web", "opt/web", "work/local", "bin/data"):
        file = tmp_path / "app" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o644 if name == "bin/data" else 0o755)
    (tmp_path / "app/bin/linked").symlink_to("/opt/web")
    (tmp_path / "app/bin/outside").symlink_to("../../../../../../../../bin/sh")
    return AppRoot(Tree(str(tmp_path)), "app")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (app("/any/thing"), "/any/thing"),
        (app("sub/prog", directory="/srv"), "/srv/sub/prog"),
        (app("./prog"), "/./prog"),
        (app("web"), "/usr/bin/web"),
        (app("web", path="/nowhere:/opt"), "/opt/web"),
        (app("web", path="opt"), "/opt/web"),
        (app("local", directory="/work"), "/work/local"),
        (app("linked"), "/bin/linked"),
    ],
)
def test_programs_are_found_as_rkt_finds_them(root: AppRoot, wanted: App, found: str) -> None:
    assert find_executable(wanted, root, wanted.arguments[0]) == found


@pytest.mark.parametrize("program", ["missing", "data", "outside", "bin"])
def test_what_cannot_be_executed(root: AppRoot, program: str) -> None:
    with pytest.raises(UserError, match=f"app web: '{program}' is not an executable file"):
        find_executable(app(program), root, program)
