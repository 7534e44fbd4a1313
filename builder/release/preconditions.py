"""What has to be true before anything of a release is made."""

from __future__ import annotations

from dataclasses import dataclass

from builder.model.config import BuildConfig, Signer
from builder.model.lock import RENEW
from common import git, process
from common.errors import UserError

_SHOWN = 3


@dataclass(frozen=True)
class Tagged:
    """The commit that is released."""

    tag: str
    commit: str
    time: int
    """Of the commit, seconds since 1970: the time stamp of what is made."""
    origin: str
    """URL of the repository; empty where the checkout has none."""


def check(config: BuildConfig, *, has_key: bool) -> Tagged:
    """The tagged commit of a source tree that can be released.

    Raises `UserError` for a tree that is dirty or not at its tag, a build that is not locked, and a development key.
    """
    tagged = _tagged(config)
    if not config.downloads.locked:
        raise UserError(
            "a release is built from a lock file, and this build directory is not",
            hint=f"{RENEW}, commit the file, and configure with --locked",
        )
    for path in (*config.stage1.flavors_path, *config.kernel.fragments, config.downloads.lock_file):
        if not path.is_relative_to(config.srcdir):
            raise UserError(f"{path} is not in the source tree, and so not in the tag", hint="put it there")
    if not has_key and config.signing.signer is not Signer.NAMED:
        raise UserError(
            "a release is not signed by a development key, nor unsigned",
            hint="configure with --with-signing-key=FINGERPRINT, or name a key by --key-file",
        )
    return tagged


def _tagged(config: BuildConfig) -> Tagged:
    try:
        changed = git.changed_paths(config.srcdir)
    except process.CommandError as error:
        raise UserError(
            f"{config.srcdir} is no checkout of git: {error.output.strip()}", hint="release from a checkout of a tag"
        ) from error
    if changed:
        names = ", ".join(changed[:_SHOWN]) + (", ..." if len(changed) > _SHOWN else "")
        raise UserError(f"{config.srcdir} is not as it was committed: {names}", hint="commit, or use a clean checkout")
    tag = f"v{config.stage1.version}"
    tags = git.ask(config.srcdir, "tag", "--points-at", "HEAD").split()
    if tag not in tags:
        here = ", ".join(tags) or "no tag"
        raise UserError(
            f"the version is {config.stage1.version}, and HEAD has {here}, not {tag}",
            hint=f"check out {tag}, or set the version in common/version.py and tag that commit",
        )
    return Tagged(
        tag,
        git.ask(config.srcdir, "rev-parse", "HEAD").strip(),
        int(git.ask(config.srcdir, "show", "--no-patch", "--format=%ct", "HEAD")),
        git.ask(config.srcdir, "config", "--get", "remote.origin.url", check=False).strip(),
    )
