from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from builder.sources.tree import SourceKind, apply_patches, classify, place
from common.errors import UserError
from tests.support.step_context import NO_STEP, PlainContext
from tests.unit.builder.synthetic import make_config

FILES = {"Makefile": "all:\n", "src/main.c": "one\ntwo\nthree\nfour\nfive\n"}


@pytest.fixture
def ctx(tmp_path: Path) -> PlainContext:
    return PlainContext(tmp_path / "step", make_config(tmp_path), NO_STEP)


def make_tree(root: Path) -> Path:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "link").symlink_to("src/main.c")
    return root


def make_archive(root: Path, top: str) -> Path:
    with tarfile.open(root / "a.tar.xz", "w:xz") as tar:
        tar.add(make_tree(root / "tree"), arcname=top)
    return root / "a.tar.xz"


def git(folder: Path, *arguments: str) -> str:
    environment = dict(os.environ) | {
        f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", "-C", folder, "-c", "init.defaultBranch=main", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout.strip()


def make_repository(root: Path) -> tuple[Path, str]:
    make_tree(root)
    (root / ".gitignore").write_text("*.o\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root, git(root, "rev-parse", "HEAD")


def has_files(tree: Path) -> bool:
    return (tree / "link").is_symlink() and all((tree / name).read_text() == text for name, text in FILES.items())


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("https://example.com/linux-6.1.tar.xz", SourceKind.DOWNLOAD),
        ("https://example.com/a.tgz#sha256=00", SourceKind.DOWNLOAD),
        ("https://example.com/kvmtool.git", SourceKind.GIT),
        ("https://example.com/pub/kvmtool", SourceKind.GIT),
        ("git://example.com/kvmtool", SourceKind.GIT),
        ("ssh://git@example.com/kvmtool", SourceKind.GIT),
        ("git+file:///srv/kvmtool", SourceKind.GIT),
    ],
)
def test_what_a_url_is(location: str, kind: SourceKind) -> None:
    assert classify(location) is kind


def test_what_a_path_is(tmp_path: Path) -> None:
    (tmp_path / "a b.tar").touch()
    assert classify(str(tmp_path)) is SourceKind.DIRECTORY
    assert classify(str(tmp_path / "a b.tar")) is SourceKind.ARCHIVE
    with pytest.raises(UserError, match="does not exist"):
        classify(str(tmp_path / "absent"))


@pytest.mark.parametrize("top", ["project-1.0", "."])
def test_an_archive_with_and_without_a_directory_on_top(tmp_path: Path, ctx: PlainContext, top: str) -> None:
    checkout = place(str(make_archive(tmp_path, top)), "", tmp_path / "out", ctx)
    assert has_files(tmp_path / "out")
    assert checkout.commit == ""
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_a_downloaded_archive_must_be_pinned(tmp_path: Path, ctx: PlainContext) -> None:
    archive = make_archive(tmp_path, "top")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(UserError, match="not pinned"):
        place(archive.as_uri(), "", tmp_path / "out", ctx)
    with pytest.raises(UserError, match="expected 0000"):
        place(f"{archive.as_uri()}#sha256={'0' * 64}", "", tmp_path / "out", ctx)
    place(f"{archive.as_uri()}#sha256={digest}", "", tmp_path / "out", ctx)
    assert has_files(tmp_path / "out")


def test_a_plain_directory_is_copied(tmp_path: Path, ctx: PlainContext) -> None:
    source = make_tree(tmp_path / "a source")
    (source / ".svn").mkdir()
    (source / ".svn/entries").touch()
    place(str(source), "", tmp_path / "out", ctx)
    assert has_files(tmp_path / "out")
    assert not (tmp_path / "out/.svn").exists()


def test_of_a_git_checkout_come_its_sources_as_they_are_now(tmp_path: Path, ctx: PlainContext) -> None:
    source, commit = make_repository(tmp_path / "a source")
    (source / "main.o").touch()
    checkout = place(str(source), "", tmp_path / "clean", ctx)
    assert (checkout.commit, checkout.modified) == (commit, False)
    assert has_files(tmp_path / "clean")
    assert not (tmp_path / "clean/main.o").exists()
    assert not (tmp_path / "clean/.git").exists()

    (source / "Makefile").write_text("changed\n")
    (source / "new.c").touch()
    (source / "src/main.c").unlink()
    index = (source / ".git/index").read_bytes()
    checkout = place(str(source), "", tmp_path / "dirty", ctx)
    assert checkout.modified
    assert (tmp_path / "dirty/Makefile").read_text() == "changed\n"
    assert (tmp_path / "dirty/new.c").exists()
    assert not (tmp_path / "dirty/src/main.c").exists()
    assert (source / ".git/index").read_bytes() == index


def test_a_revision_of_a_repository(tmp_path: Path, ctx: PlainContext) -> None:
    source, commit = make_repository(tmp_path / "repository")
    (source / "Makefile").write_text("later\n")
    git(source, "commit", "-q", "-a", "-m", "second")
    git(source, "tag", "v1", commit)
    for number, revision in enumerate((commit, commit[:8], "v1")):
        checkout = place(f"git+{source.as_uri()}", revision, tmp_path / f"out{number}", ctx)
        assert checkout.commit == commit
        assert has_files(tmp_path / f"out{number}")
        assert not (tmp_path / f"out{number}/.git").exists()
    assert list(ctx.scratch.iterdir()) == []


def test_a_branch_that_looks_like_a_commit_is_refused(tmp_path: Path, ctx: PlainContext) -> None:
    source, _ = make_repository(tmp_path / "repository")
    git(source, "tag", "abcdef1")
    with pytest.raises(UserError, match="name of a branch or tag"):
        place(f"git+{source.as_uri()}", "abcdef1", tmp_path / "out", ctx)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("revision", ["", "--upload-pack=x", "-x", "a..b", "a b", "HEAD@{1}", "a;b"])
def test_what_is_no_revision(tmp_path: Path, ctx: PlainContext, revision: str) -> None:
    with pytest.raises(UserError, match="not the name of a git revision"):
        place("git+file:///nowhere", revision, tmp_path / "out", ctx)


def test_an_absent_revision(tmp_path: Path, ctx: PlainContext) -> None:
    source, _ = make_repository(tmp_path / "repository")
    with pytest.raises(UserError, match="has no revision 0123456"):
        place(f"git+{source.as_uri()}", "0123456", tmp_path / "out", ctx)


def test_offline_nothing_is_fetched(tmp_path: Path) -> None:
    ctx = PlainContext(tmp_path / "step", make_config(tmp_path, downloads_offline=True), NO_STEP)
    for location in ("git+file:///nowhere", f"file:///nowhere.tar#sha256={'0' * 64}"):
        with pytest.raises(UserError, match="offline"):
            place(location, "v1", tmp_path / "out", ctx)


def make_patch(root: Path, old: str, new: str, *, context: int = 3, header: str = "") -> Path:
    for name, text in (("a", old), ("b", new)):
        (root / name / "src").mkdir(parents=True, exist_ok=True)
        (root / name / "src/main.c").write_text(text)
    diff = subprocess.run(
        ["diff", f"-U{context}", "a/src/main.c", "b/src/main.c"], cwd=root, capture_output=True, text=True, check=False
    )
    (root / "0001-change.patch").write_text(f"Why.\n{header}\n{diff.stdout}")
    return root / "0001-change.patch"


@pytest.mark.parametrize("context", [0, 3])
def test_a_patch_is_applied_once(tmp_path: Path, ctx: PlainContext, context: int) -> None:
    tree = make_tree(tmp_path / "tree")
    old = FILES["src/main.c"]
    new = old.replace("three\n", "three\nand a half\n")
    patch = make_patch(tmp_path, old, new, context=context)
    assert apply_patches(tree, [patch], ctx) == ["0001-change.patch"]
    assert (tree / "src/main.c").read_text() == new
    assert apply_patches(tree, [patch], ctx) == []
    assert (tree / "src/main.c").read_text() == new
    assert "0001-change.patch: already in the source, skipped" in ctx.notices
    assert sorted(path.name for path in (tree / "src").iterdir()) == ["main.c"]


def test_a_patch_that_does_not_fit_changes_nothing(tmp_path: Path, ctx: PlainContext) -> None:
    tree = make_tree(tmp_path / "tree")
    patch = make_patch(tmp_path, "uno\ndos\ntres\n", "uno\ndos\ntres\ncuatro\n")
    with pytest.raises(UserError, match=r"0001-change\.patch: does not apply"):
        apply_patches(tree, [patch], ctx)
    assert has_files(tree)
    assert sorted(path.name for path in (tree / "src").iterdir()) == ["main.c"]


def test_a_patch_without_context_is_for_one_file_only(tmp_path: Path, ctx: PlainContext) -> None:
    tree = make_tree(tmp_path / "tree")
    old = FILES["src/main.c"]
    new = old.replace("three\n", "three\nand a half\n")
    digest = hashlib.sha256(old.encode()).hexdigest()
    patch = make_patch(tmp_path, old, new, context=0, header=f"Base-SHA256: {digest} src/main.c\n")
    (tree / "src/main.c").write_text(f"zero\n{old}")
    with pytest.raises(UserError, match="does not apply"):
        apply_patches(tree, [patch], ctx)
    (tree / "src/main.c").write_text(old)
    assert apply_patches(tree, [patch], ctx) == ["0001-change.patch"]
