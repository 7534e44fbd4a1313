from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from builder.components.hypervisor import lkvm
from builder.model.architecture_files import load_architecture
from builder.model.config import BuildConfig
from common.errors import UserError
from tests.support.step_context import PlainContext
from tests.unit.builder.programs import STOCK, make_lkvm
from tests.unit.builder.sources.test_tree import git
from tests.unit.builder.synthetic import PROJECT, machine_of, make_config

MAKEFILE = """\
lkvm-static:
	@test ! -e old.o
	@echo "  CC       main.o"
	@echo "  LINK     lkvm-static"
	@cp "$(word 1,$(wildcard /bin/true /usr/bin/true))" lkvm-static
	@echo "$(CC) [$(SOURCE_SDL)] $(LDFLAGS)" > flags
clean:
	@rm -f old.o
"""


def make_source(root: Path) -> Path:
    (root / "virtio").mkdir(parents=True)
    (root / "virtio/9p.c").write_text("int x;\n")
    (root / "Makefile").write_text(MAKEFILE)
    (root / "old.o").touch()
    return root


def build(config: BuildConfig, root: Path) -> PlainContext:
    (step,) = lkvm.steps(config, machine_of(config))
    context = PlainContext(root, config, step)
    step.run(context)
    return context


def test_a_directory_with_old_products(tmp_path: Path) -> None:
    source = make_source(tmp_path / "kvm tool")
    config = make_config(tmp_path, lkvm_source=str(source), lkvm_revision="b48735e", compiler_launcher="ccache")
    context = build(config, tmp_path / "a step")
    assert {path.name for path in context.output.iterdir()} == {"lkvm", "lkvm.json"}
    assert json.loads((context.output / "lkvm.json").read_text()) == {"channel": True}
    assert os.access(context.output / "lkvm", os.X_OK)
    assert context.facts == {"revision": "", "modified": False, "patches": []}
    assert (source / "old.o").exists()
    assert not (source / "lkvm-static").exists()
    flags = (context.scratch / "kvmtool/flags").read_text()
    assert flags == "ccache gcc [] -Wl,--build-id=none\n"


@pytest.mark.parametrize("channel", [True, False])
def test_a_prebuilt_program(tmp_path: Path, channel: bool) -> None:
    program = make_lkvm(tmp_path / "given", *STOCK, *(["port"] if channel else []))
    context = build(make_config(tmp_path, lkvm_program=program), tmp_path / "step")
    assert (context.output / "lkvm").stat().st_size < program.stat().st_size
    assert os.access(context.output / "lkvm", os.X_OK)
    assert json.loads((context.output / "lkvm.json").read_text()) == {"channel": channel}
    assert any("no `enter`" in notice for notice in context.notices) is not channel
    assert program in context.step.files


def test_a_checkout_at_another_revision_is_pointed_out(tmp_path: Path) -> None:
    source = make_source(tmp_path / "kvmtool")
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "first")
    commit = git(source, "rev-parse", "HEAD")
    (source / "virtio/9p.c").write_text("int y;\n")
    config = make_config(tmp_path, lkvm_source=str(source), lkvm_revision="b48735e")
    context = build(config, tmp_path / "step")
    assert (context.facts["revision"], context.facts["modified"]) == (commit, True)
    assert f"{source} is at {commit[:12]}, not at b48735e" in context.notices
    assert f"{source} is modified since its last commit" in context.notices
    same = build(make_config(tmp_path, lkvm_source=str(source), lkvm_revision=commit), tmp_path / "again")
    assert not any("not at" in notice for notice in same.notices)


def test_a_patch_that_does_not_fit(tmp_path: Path) -> None:
    config = make_config(tmp_path, lkvm_source=str(make_source(tmp_path / "kvmtool")))
    folder = config.srcdir / "flavors/kvm/lkvm-patches"
    folder.mkdir(parents=True)
    (folder / "0001-a.patch").write_text(
        "Why.\n\n--- a/virtio/9p.c\n+++ b/virtio/9p.c\n@@ -1 +1 @@\n-int z;\n+int y;\n"
    )
    with pytest.raises(UserError, match=r"0001-a\.patch: does not apply"):
        build(config, tmp_path / "step")
    assert list((tmp_path / "step/output").iterdir()) == []


def test_what_is_no_kvmtool(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not the source of kvmtool"):
        build(make_config(tmp_path, lkvm_source=str(tmp_path / "empty")), tmp_path / "step")


def test_what_the_step_depends_on(tmp_path: Path) -> None:
    source = make_source(tmp_path / "kvmtool")
    (local,) = lkvm.steps(
        make_config(tmp_path, lkvm_source=str(source), lkvm_revision="b48735e"), load_architecture("amd64")
    )
    assert source in local.files
    url = "https://example.com/kvmtool.git"
    (remote,) = lkvm.steps(make_config(tmp_path, lkvm_source=url, lkvm_revision="b48735e"), load_architecture("amd64"))
    assert remote.files == ()
    assert remote.params == {"source": url, "revision": "b48735e"}


def test_every_patch_of_the_project_says_why() -> None:
    patches = sorted((PROJECT / "flavors/kvm/lkvm-patches").glob("*.patch"))
    assert patches
    for patch in patches:
        header = patch.read_text().partition("\n--- ")[0]
        assert len(header.split()) > 20, f"{patch} has no reason"
        assert all(line[:1] in {"+", "-", "@"} for line in patch.read_text()[len(header) + 1 :].splitlines())


@pytest.mark.slow
def test_a_real_kvmtool_gives_the_same_program_in_any_directory(tmp_path: Path) -> None:
    source = os.environ.get("LKVM_SRC")
    if not source:
        pytest.skip("needs the source of kvmtool: set LKVM_SRC")
    programs = []
    for name in ("one", "another one"):
        (tmp_path / name).mkdir()
        config = make_config(tmp_path / name, srcdir=PROJECT, lkvm_source=source, lkvm_revision="b48735e")
        programs.append((build(config, tmp_path / name / "step").output / "lkvm").read_bytes())
    assert programs[0] == programs[1]
    assert len(programs[0]) < 4_000_000
