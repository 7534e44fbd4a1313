"""The kernel's steps, with a tree that has a kernel's interface and next to nothing behind it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from builder.components.kernel.build import FACTS, steps
from builder.components.kernel.features import FEATURES
from builder.components.kernel.spec import specs_of
from builder.engine.graph import Step
from builder.model.config import BuildConfig
from common.errors import UserError
from tests.support.step_context import PlainContext
from tests.unit.builder.flavors import flavor_of
from tests.unit.builder.synthetic import machine_of, make_config

KCONFIG = "config NET\nconfig OVERLAY_FS\nconfig NEEDY\nconfig AUTOFS_FS\nconfig NR_CPUS\nconfig DEBUG_INFO_BTF\n"

MERGE = """\
#!/bin/sh
set -e
[ "$1" = -n ] && [ "$2" = -O ]
objects=$3
shift 3
cat "$@" | grep -v NEEDY >"$objects/.config"
make --no-print-directory -C . versions >>"$objects/.config"
"""

MAKEFILE = """\
ifneq ($(words $(CURDIR)$(O)), 1)
$(error a kernel is not built in a directory with spaces)
endif
PAHOLE = pahole
RUSTC = rustc
all:
versions:
	@echo "# versions of $(PAHOLE) and $(RUSTC)"
bzImage:
	@mkdir -p $(O)/arch/x86/boot $(O)/include/config
	@echo "  CC      init/main.o"
	@echo "  AS      arch/x86/entry.o"
	@echo "$(ARCH) $(KBUILD_BUILD_TIMESTAMP) $(KBUILD_BUILD_USER) $(CC)" > $(O)/arch/x86/boot/bzImage
	@echo 6.1.99 > $(O)/include/config/kernel.release
	@cat patched 2>/dev/null || true
	@test ! -e broken
vmlinux: bzImage
	@cp "$(word 1,$(wildcard /bin/true /usr/bin/true))" $(O)/vmlinux
mrproper:
	@rm -rf .config include/config
	@touch $(CURDIR)/cleaned
"""


def make_kernel(root: Path) -> Path:
    (root / "scripts/kconfig").mkdir(parents=True)
    (root / "Kconfig").write_text(KCONFIG)
    (root / "scripts/kconfig/merge_config.sh").write_text(MERGE)
    (root / "Makefile").write_text(MAKEFILE)
    return root


def make_project(root: Path, source: Path, *, theirs: str = "", **changes: object) -> BuildConfig:
    config = make_config(root, kernel_source=str(source), **changes)
    folder = config.srcdir / "kernel-configs"
    (folder / "amd64").mkdir(parents=True)
    (folder / "patches").mkdir()
    (folder / "names.toml").write_text('[renamed]\nAUTOFS4_FS = "AUTOFS_FS"\n[merged]\nGONE = "always on"\n')
    (folder / "amd64/net.config").write_text("# Networks.\nCONFIG_NET=y\n")
    (folder / "amd64/fs.config").write_text("# Files.\nCONFIG_OVERLAY_FS=y\nCONFIG_AUTOFS4_FS=y\nCONFIG_GONE=y\n")
    if not theirs:
        return config
    (root / "my own.config").write_text(theirs)
    return make_config(root, **{"kernel_source": str(source), "kernel_fragments": (root / "my own.config",)} | changes)


def all_steps(config: BuildConfig) -> list[Step]:
    return [
        step
        for spec in specs_of(config, machine_of(config), flavor_of(config))
        for step in steps(config, machine_of(config), spec)
    ]


def find(config: BuildConfig, name: str) -> Step:
    return next(step for step in all_steps(config) if step.name == name)


def build(config: BuildConfig, root: Path) -> PlainContext:
    context = PlainContext(root, config, find(config, "kernel-compile"))
    context.step.run(context)
    return context


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_kernel(tmp_path / "linux-6.1")


def test_everything_that_a_hypervisor_may_boot(tmp_path: Path, source: Path) -> None:
    before = os.umask(0o077)
    try:
        context = build(make_project(tmp_path, source), tmp_path / "step")
    finally:
        os.umask(before)
    assert {path.name for path in context.output.iterdir()} == {*("bzImage", "vmlinux", "config", FACTS, FEATURES)}
    assert (context.output / "bzImage").read_text() == "x86_64 Thu Jan 01 00:00:00 UTC 2026 mkstage1 cc\n"
    assert {path.stat().st_mode & 0o777 for path in context.output.iterdir()} == {0o644}
    options = (context.output / "config").read_text()
    lines = [line for line in options.splitlines() if not line.startswith("#")]
    assert sorted(lines) == ["CONFIG_AUTOFS_FS=y", "CONFIG_NET=y", "CONFIG_OVERLAY_FS=y"]
    assert json.loads((context.output / FACTS).read_text()) == {"symbols": 3, "version": "6.1.99"}
    assert json.loads((context.output / FEATURES).read_text()) == {"patches_itself": False}
    assert context.facts == {"symbols": 3, "version": "6.1.99", "patches": [], "overrides": []}
    assert any("AUTOFS4_FS is AUTOFS_FS" in notice for notice in context.notices)
    assert not (source / "objects").exists()
    assert context.bars[-1].done == context.bars[-1].total == 2


def test_directories_with_spaces(tmp_path: Path) -> None:
    source = make_kernel(tmp_path / "a b" / "linux")
    context = build(make_project(tmp_path / "a b", source), tmp_path / "a b" / "step")
    assert (context.output / "bzImage").exists()
    assert not list(context.scratch.iterdir())


def test_a_build_that_is_killed_goes_on_though_its_directory_has_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    source = make_kernel(tmp_path / "a b" / "linux")
    end = tmp_path / "end"
    (source / "Makefile").write_text(MAKEFILE.replace("bzImage:\n", f"bzImage:\n\t@sh '{end}'\n"))
    config = make_project(tmp_path / "a b", source)
    killed = os.fork()
    if killed == 0:
        end.write_text(f"kill -KILL {os.getpid()}; false")
        build(config, tmp_path / "a b" / "step")
        os._exit(0)
    assert os.waitpid(killed, 0)[1] == signal.SIGKILL
    (left,) = (tmp_path / "tmp").iterdir()
    (left / "linux/patched").write_text("went on\n")
    end.write_text("true")
    context = build(config, tmp_path / "a b" / "step")
    assert (context.output / "bzImage").exists()
    assert "went on" in context.log.read_text()
    assert not list((tmp_path / "tmp").iterdir())
    assert not list(context.scratch.iterdir())


def test_no_directory_of_somebody_else_is_taken(tmp_path: Path) -> None:
    source = make_kernel(tmp_path / "a b" / "linux")
    config = make_project(tmp_path / "a b", source)
    (tmp_path / "others").mkdir(mode=0o755)
    (tmp_path / "others/patches").write_text("not JSON")
    scratch = PlainContext(tmp_path / "a b" / "step", config, find(config, "kernel-compile")).scratch
    (scratch / "elsewhere").symlink_to(tmp_path / "others")
    assert (build(config, tmp_path / "a b" / "step").output / "bzImage").exists()
    assert (tmp_path / "others/patches").read_text() == "not JSON"


def test_an_archive(tmp_path: Path, source: Path) -> None:
    with tarfile.open(tmp_path / "linux.tar.gz", "w:gz") as tar:
        tar.add(source, arcname="linux-6.1")
    context = build(make_project(tmp_path, tmp_path / "linux.tar.gz"), tmp_path / "step")
    assert (context.output / "bzImage").exists()


def test_the_launcher_of_the_compiler(tmp_path: Path, source: Path) -> None:
    context = build(make_project(tmp_path, source, compiler_launcher="ccache"), tmp_path / "step")
    assert (context.output / "bzImage").read_text().endswith(" ccache gcc\n")


def test_a_person_overrides_the_project(tmp_path: Path, source: Path) -> None:
    config = make_project(tmp_path, source, theirs="# CONFIG_AUTOFS_FS is not set\nCONFIG_NR_CPUS=4\n")
    context = build(config, tmp_path / "step")
    assert "# CONFIG_AUTOFS_FS is not set\n" in (context.output / "config").read_text()
    assert "CONFIG_NR_CPUS=4\n" in (context.output / "config").read_text()
    assert context.facts["overrides"] == ["# CONFIG_AUTOFS_FS is not set"]
    assert any("replaces CONFIG_AUTOFS_FS=y" in notice for notice in context.notices)


@pytest.mark.parametrize(
    ("theirs", "tools", "line"),
    [
        ("", set(), "# versions of absent and absent\n"),
        ("CONFIG_DEBUG_INFO_BTF=y\n", {"pahole"}, "# versions of pahole and absent\n"),
    ],
)
def test_what_is_installed_and_not_used_leaves_no_trace(
    tmp_path: Path, source: Path, theirs: str, tools: set[str], line: str
) -> None:
    """kconfig puts the versions of these programs into the configuration, wherever it finds them."""
    context = build(make_project(tmp_path, source, theirs=theirs), tmp_path / "step")
    assert set(context.step.tools) & {"pahole", "rustc"} == tools
    assert line in (context.output / "config").read_text()


def test_a_lost_option_is_an_error_that_says_where_it_was_asked_for(tmp_path: Path, source: Path) -> None:
    config = make_project(tmp_path, source, theirs="\nCONFIG_NEEDY=y\n")
    with pytest.raises(UserError, match=r"my own\.config:2: NEEDY is n, not y"):
        build(config, tmp_path / "step")
    assert list((tmp_path / "step/output").iterdir()) == []


def test_an_unknown_option(tmp_path: Path, source: Path) -> None:
    config = make_project(tmp_path, source, theirs="CONFIG_OVERLAYFS=y\n")
    with pytest.raises(UserError, match=r"my own\.config:1: OVERLAYFS is unknown .* did you mean OVERLAY_FS"):
        build(config, tmp_path / "step")


def test_contradictions_are_found_before_anything_runs(tmp_path: Path, source: Path) -> None:
    config = make_project(tmp_path, source, theirs="CONFIG_NR_CPUS=4\nCONFIG_NR_CPUS=8\n")
    with pytest.raises(UserError, match=r"my own\.config:1 .* and .*my own\.config:2"):
        all_steps(config)


def test_a_patch_of_the_project(tmp_path: Path, source: Path) -> None:
    config = make_project(tmp_path, source)
    patch = "Why.\n\n--- /dev/null\n+++ b/patched\n@@ -0,0 +1 @@\n+  CC      patched.o\n"
    (config.srcdir / "kernel-configs/patches/0001-new.patch").write_text(patch)
    context = build(config, tmp_path / "step")
    assert context.facts["patches"] == ["0001-new.patch"]
    assert context.bars[-1].done == 3
    assert config.srcdir / "kernel-configs/patches/0001-new.patch" in context.step.files


def test_products_in_the_source_are_cleaned_in_the_copy(tmp_path: Path, source: Path) -> None:
    (source / ".config").touch()
    build(make_project(tmp_path, source), tmp_path / "step")
    assert (tmp_path / "step/scratch/linux/cleaned").exists()
    assert (source / ".config").exists()
    assert not (source / "cleaned").exists()


def test_a_build_that_was_broken_off_goes_on(tmp_path: Path, source: Path) -> None:
    config = make_project(tmp_path, source)
    step = find(config, "kernel-compile")
    (source / "broken").touch()
    with pytest.raises(UserError, match="make failed"):
        step.run(PlainContext(tmp_path / "step", config, step))
    tree = tmp_path / "step/scratch/linux"
    (tree / "broken").unlink()
    (tree / "mark").touch()
    shutil.rmtree(source)
    context = PlainContext(tmp_path / "step", config, step)
    step.run(context)
    assert (tree / "mark").exists()
    assert (context.output / "bzImage").exists()
    assert context.facts["patches"] == []


@pytest.mark.parametrize("name", ["Kconfig", "scripts"])
def test_what_is_no_kernel(tmp_path: Path, source: Path, name: str) -> None:
    subprocess.run(["rm", "-r", source / name], check=True)
    with pytest.raises(UserError, match="not the source of a kernel"):
        build(make_project(tmp_path, source), tmp_path / "step")


def test_comments_and_places_do_not_make_another_kernel(tmp_path: Path, source: Path) -> None:
    config = make_project(tmp_path, source)
    before = find(config, "kernel-compile")
    fragment = config.srcdir / "kernel-configs/amd64/net.config"
    fragment.write_text("# Other words.\n\n\nCONFIG_NET=y\n")
    after = find(config, "kernel-compile")
    assert (before.params, before.files) == (after.params, after.files)
    fragment.write_text("CONFIG_NET=m\n")
    assert find(config, "kernel-compile").params != before.params


def test_a_directory_counts_with_its_content(tmp_path: Path, source: Path) -> None:
    step = find(make_project(tmp_path, source), "kernel-compile")
    assert source in step.files
    assert step.needs == ()


def test_sources_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        all_steps(make_project(tmp_path / "a", tmp_path / "absent"))
    config = make_config(tmp_path / "a", kernel_source="git://example.com/linux")
    with pytest.raises(UserError, match="not an archive"):
        all_steps(config)


def make_debian_package(root: Path, name: str) -> Path:
    """The output of the step that downloads Debian packages, with one source package in it."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    folder = root / "package"
    (folder / "DEBIAN").mkdir(parents=True)
    (folder / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 6.1.99-1\nArchitecture: all\nMaintainer: A <a@example.com>\nDescription: test\n"
    )
    (folder / "usr/src").mkdir(parents=True)
    make_kernel(root / "linux-source-6.1")
    with tarfile.open(folder / f"usr/src/{name}.tar.xz", "w:xz") as tar:
        tar.add(root / "linux-source-6.1", arcname="linux-source-6.1")
    output = root / f"debian-{name}"
    output.mkdir()
    file = f"{name}_6.1.99-1_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", folder, output / file], check=True)
    package = {"name": name, "version": "6.1.99-1", "architecture": "all", "source": "linux", "size": 1, "sha256": ""}
    (output / "packages.json").write_text(json.dumps({"packages": [package | {"file": file}]}))
    return output


def test_debians_source(tmp_path: Path) -> None:
    packages = make_debian_package(tmp_path, "linux-source-6.1")
    make_project(tmp_path, Path("debian"))
    config = make_config(tmp_path, kernel_versions=("6.1",))
    one, two = all_steps(config)
    assert (one.name, two.name, two.needs) == ("kernel-source-6.1", "kernel-compile-6.1", ("kernel-source-6.1",))
    context = PlainContext(tmp_path / "source", config, one, {one.needs[0]: packages})
    one.run(context)
    assert [path.name for path in context.output.iterdir()] == ["linux-source-6.1.tar.xz"]
    assert context.facts["package"] == "linux-source-6.1 6.1.99-1"
    compiled = PlainContext(tmp_path / "compile", config, two, {"kernel-source-6.1": context.output})
    two.run(compiled)
    assert (compiled.output / "bzImage").exists()


def test_a_series_that_debian_does_not_have(tmp_path: Path) -> None:
    packages = make_debian_package(tmp_path, "linux-source-6.1")
    make_project(tmp_path, Path("debian"))
    config = make_config(tmp_path, kernel_versions=("6.2",), debian_suite="bookworm")
    step = find(config, "kernel-source-6.2")
    with pytest.raises(UserError, match=r"bookworm has no package linux-source-6\.2"):
        step.run(PlainContext(tmp_path / "source", config, step, {step.needs[0]: packages}))


def test_a_pinned_download(tmp_path: Path, source: Path) -> None:
    archive = tmp_path / "linux.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, arcname="linux-6.1")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    make_project(tmp_path, source)
    for pin, offline, problem in ((digest, False, ""), ("0" * 64, False, "SHA-256 is"), (digest, True, "offline")):
        url = f"{archive.as_uri()}#sha256={pin}"
        config = make_config(tmp_path, kernel_source=url, downloads_offline=offline)
        step = find(config, "kernel-source")
        context = PlainContext(tmp_path / f"step{problem}", config, step)
        if problem:
            with pytest.raises(UserError, match=problem):
                step.run(context)
            assert list(context.output.iterdir()) == []
        else:
            step.run(context)
            assert [path.name for path in context.output.iterdir()] == ["linux.tar.gz"]
            assert context.facts["sha256"] == digest
