"""Source trees: a directory, an archive or a git repository becomes a clean tree of our own, patched as asked."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from builder.engine.graph import StepContext
from builder.model.mirrors import first_good
from builder.sources.download import fetch
from builder.sources.extract import safe_extract
from common import git
from common.errors import UserError
from common.files import file_digest
from common.process import CommandError
from common.removal import remove_tree

_ARCHIVE_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_GIT_SCHEMES = frozenset({"git", "ssh", "git+https", "git+ssh", "git+file"})
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")
_HEXADECIMAL = re.compile(r"[0-9a-f]{7,40}")
_BASE = re.compile(r"^Base-SHA256: ([0-9a-f]{64}) (\S+)$", re.MULTILINE)
_VERSION_CONTROL = frozenset({".git", ".hg", ".svn"})


class SourceKind(Enum):
    """What a source location is."""

    DIRECTORY = "directory"
    ARCHIVE = "archive"
    DOWNLOAD = "download"
    """An archive behind a URL."""
    GIT = "git repository"


@dataclass(frozen=True)
class Checkout:
    """The state of a source that is, or comes from, a git repository."""

    commit: str
    """Full name of the commit; empty where the source is not under git."""
    modified: bool = False
    """The tree differs from that commit."""


def classify(location: str) -> SourceKind:
    """Tell what a source option names. Raises `UserError` where it names nothing that exists or is understood."""
    scheme = urlsplit(location).scheme
    if scheme in _GIT_SCHEMES:
        return SourceKind.GIT
    if scheme in {"https", "http", "file"}:
        path = urlsplit(location).path
        return SourceKind.DOWNLOAD if path.endswith(_ARCHIVE_ENDINGS) else SourceKind.GIT
    path_ = Path(location)
    if path_.is_dir():
        return SourceKind.DIRECTORY
    if path_.is_file():
        return SourceKind.ARCHIVE
    raise UserError(
        f"source {location!r} does not exist", hint="give a directory, a tar archive or a URL that has a scheme"
    )


def place(location: str, revision: str, tree: Path, ctx: StepContext) -> Checkout:
    """Make the directory `tree` of whatever `location` is; `revision` counts for a git repository only.

    An archive from the network has no signature that this could check: it must be pinned, `URL#sha256=DIGEST`.
    """
    kind = classify(location)
    if kind is SourceKind.DIRECTORY:
        return copy_directory(Path(location), tree, ctx)
    if kind is SourceKind.GIT:
        return first_good(
            location, ctx.config.downloads.mirrors, lambda place: checkout(place, revision, tree, ctx), ctx.notice
        )
    if kind is SourceKind.ARCHIVE:
        unpack(Path(location), tree, ctx)
        return Checkout("")
    url, _, digest = location.partition("#sha256=")
    if not digest:
        raise UserError(f"{location}: not pinned", hint=f"write {location}#sha256=DIGEST, or name a git repository")
    if ctx.config.downloads.offline:
        raise UserError(f"{location} is needed and the build is offline", hint="name a local archive instead")
    archive = ctx.scratch / "source.archive"
    first_good(
        url,
        ctx.config.downloads.mirrors,
        lambda place: fetch(place, archive, sha256=digest, progress=ctx.progress),
        ctx.notice,
    )
    unpack(archive, tree, ctx)
    archive.unlink()
    return Checkout("")


def unpack(archive: Path, tree: Path, ctx: StepContext) -> None:
    """Unpack a source archive as `tree`, without the one directory on top that such archives usually have."""
    holder = tree.with_name(f".{tree.name}.unpacked")
    remove_tree(holder)
    with ctx.progress(None, "files") as bar:
        count = safe_extract(archive, holder, on_member=lambda _: bar.advance())
    ctx.detail(f"unpacked {count} members of {archive.name}")
    entries = list(holder.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        entries[0].rename(tree)
        holder.rmdir()
    else:
        holder.rename(tree)


def copy_directory(source: Path, tree: Path, ctx: StepContext) -> Checkout:
    """Copy a directory as `tree`; `source` is only read.

    Of a git checkout come the files that git tracks, as they are now, and new ones that it does not ignore: no
    products of an earlier build. Of any other directory comes everything but the data of version control.
    """
    if not (source / ".git").exists():
        shutil.copytree(
            source, tree, symlinks=True, ignore=lambda _, names: [name for name in names if name in _VERSION_CONTROL]
        )
        return Checkout("")
    commit = git.ask(source, "rev-parse", "--verify", "HEAD^{commit}").strip()
    modified = bool(git.changed_paths(source, submodules=False))
    listing = git.ask(source, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    tree.mkdir()
    for name in listing.rstrip("\0").split("\0"):
        origin = source / name
        if origin.is_symlink() or origin.is_file():
            target = tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, target, follow_symlinks=False)
    return Checkout(commit, modified)


def checkout(url: str, revision: str, tree: Path, ctx: StepContext) -> Checkout:
    """Fetch one revision of a git repository as `tree`, without the repository's own data.

    `revision` is a commit, whole or shortened, or a tag; it must be a commit for the content to be certain. What looks
    like a commit must be one: a branch of such a name is refused.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise UserError(f"{revision!r} is not the name of a git revision", hint="give a commit")
    if ctx.config.downloads.offline:
        raise UserError(f"{url} is needed and the build is offline", hint="name a local directory or archive instead")
    url = url.removeprefix("git+")
    repository = ctx.scratch / "repository.git"
    remove_tree(repository)
    _git(ctx, ctx.scratch, "init", "--quiet", "--bare", str(repository))
    _git(ctx, repository, "fetch", "--quiet", "--end-of-options", url, "+refs/*:refs/*")
    wanted = f"{revision}^{{commit}}"
    try:
        commit = _git(ctx, repository, "rev-parse", "--verify", "--end-of-options", wanted).strip()
    except CommandError as error:
        raise UserError(f"{url} has no revision {revision}") from error
    commit = commit.splitlines()[-1]
    if _HEXADECIMAL.fullmatch(revision) and not commit.startswith(revision):
        raise UserError(f"{url}: {revision} is the name of a branch or tag there, of commit {commit}")
    archive = ctx.scratch / "checkout.tar"
    _git(ctx, repository, "archive", "--format=tar", f"--output={archive}", commit)
    safe_extract(archive, tree)
    archive.unlink()
    remove_tree(repository)
    return Checkout(commit)


def _git(ctx: StepContext, directory: Path, *arguments: str) -> str:
    """Run git without what a repository or a user may have set up for other purposes."""
    settings = ("safe.directory=*", "core.fsmonitor=false", "core.hooksPath=/dev/null", "advice.detachedHead=false")
    options = [word for setting in settings for word in ("-c", setting)]
    return ctx.execute(
        ["git", "--no-optional-locks", *options, "-C", directory, *arguments],
        env={"GIT_ALLOW_PROTOCOL": "https:ssh:git:file", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"},
    )


def apply_patches(tree: Path, patches: list[Path], ctx: StepContext) -> list[str]:
    """Apply patches to `tree` in the order given; return the names of those that were applied.

    One whose change is already in the tree is skipped, with a notice. One that does not fit raises `UserError` before
    it has changed anything. Patches without context name the files that their line numbers are for, in lines
    `Base-SHA256: DIGEST FILE` before the first hunk; other files do not fit.
    """
    applied = []
    for patch in patches:
        base = ["patch", "--strip=1", "--force", "--fuzz=0", "--no-backup-if-mismatch", f"--input={patch}"]
        if _fits([*base, "--reverse", "--dry-run"], tree, ctx):
            ctx.notice(f"{patch.name}: already in the source, skipped")
            continue
        if not _is_base(patch, tree) or not _fits([*base, "--forward", "--dry-run"], tree, ctx):
            raise UserError(f"{patch}: does not apply to the source", hint=f"what patch says is in {ctx.log}")
        ctx.execute([*base, "--forward"], cwd=tree)
        ctx.detail(f"applied {patch.name}")
        applied.append(patch.name)
    return applied


def _is_base(patch: Path, tree: Path) -> bool:
    header = patch.read_text(errors="replace").partition("\n--- ")[0]
    wanted = [(digest, tree / name) for digest, name in _BASE.findall(header)]
    return all(path.is_file() and file_digest(path) == digest for digest, path in wanted)


def _fits(argv: list[str | Path], tree: Path, ctx: StepContext) -> bool:
    try:
        ctx.execute(argv, cwd=tree)
    except CommandError:
        return False
    return True
