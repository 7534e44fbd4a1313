"""`mkstage1 release` and `mkstage1 release verify`."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from builder.commands.build_directory import builddir_option, config_of
from common.errors import UserError

_FILE = click.Path(path_type=Path)


@dataclass(frozen=True)
class _Options:
    """What the command line of `mkstage1 release` says, by the names of the parameters below."""

    builddir: str | None
    output: Path | None
    url: str
    builder_id: str | None
    key_file: Path | None
    passphrase_file: Path | None
    keys: tuple[Path, ...]
    previous: Path | None
    jobs: int | None


@click.group(invoke_without_command=True)
@builddir_option
@click.option(
    "--output", type=_FILE, metavar="DIR", help="Where v<version>/ is made; default: release/ in the source tree."
)
@click.option("--url", default="", help="Where the folder will be published; default: https:// and the images' domain.")
@click.option("--builder-id", metavar="URI", help="Who builds, for the provenance.")
@click.option("--key-file", type=_FILE, help="File with the secret key, for jobs that have no GnuPG home.")
@click.option("--passphrase-file", type=_FILE, help="File with its passphrase; default: that of configure.")
@click.option(
    "--keys", type=_FILE, multiple=True, metavar="FILE", help="Public keys of earlier releases, to publish besides."
)
@click.option("--previous", type=_FILE, metavar="DIR", help="Folder of the release before, for the notes.")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Processes to keep busy; default: make's -j, else the CPUs."
)
@click.pass_context
def release(ctx: click.Context, /, **given: Any) -> int:
    """Make the release of the tag that is checked out.

    It is built twice in different directories and compared, signed, and verified with the public key alone. The folder
    release/v<version> then is a site that any web server serves. A release is there as a whole or not at all.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from builder.engine.build import Interrupted, interruptible
    from builder.engine.console import Console, Verbosity

    try:
        from builder.release.make import Request, make_release
    except ImportError as error:
        raise UserError(f"{error.name} is not installed", hint="run make release-tools") from error
    from builder.engine.scheduler import job_count
    from builder.release.provenance import DEFAULT_BUILDER

    options = _Options(**given)
    config = config_of(options.builddir)
    os.umask(0o022)
    request = Request(
        output=(options.output or config.srcdir / "release").absolute(),
        url=options.url,
        builder=options.builder_id or DEFAULT_BUILDER,
        key_file=options.key_file,
        passphrase_file=options.passphrase_file,
        previous=options.previous,
        further_keys=options.keys,
    )
    console = Console(Verbosity.parse(os.environ.get("V", "")))
    try:
        with interruptible():
            target = make_release(config, request, console, options.jobs or job_count(os.environ))
    except Interrupted as error:
        click.echo(f"mkstage1: ended by {error.name}; nothing of the release is there", err=True)
        return error.status
    click.echo(f"{target} is complete and verified")
    return 0


@release.command()
@click.argument("place", metavar="DIR|URL")
@click.option(
    "--fingerprint", "fingerprints", multiple=True, metavar="FINGERPRINT", help="Full fingerprint of a key you trust."
)
@click.option("--keys", type=_FILE, metavar="FILE", help="Public keys; default: those that the release brings.")
def verify(place: str, fingerprints: tuple[str, ...], keys: Path | None) -> int:
    """Check a release: sums, signatures, provenance, bills of materials. Exit status 1 where anything is wrong.

    Without --fingerprint the key is that which the release brings: then all that is shown is that one key signed it.
    """
    from builder.release.verify import verify_folder

    trusted = fingerprints or None
    if place.startswith(("http://", "https://")):
        from builder.release.download import download

        with tempfile.TemporaryDirectory(prefix="mkstage1-release-") as name:
            folder = Path(name)
            download(place.rstrip("/"), folder)
            verdict = verify_folder(folder, trusted, keys)
    else:
        if not Path(place).is_dir():
            raise UserError(f"{place} is no folder", hint="name the folder of a release, or its URL")
        verdict = verify_folder(Path(place), trusted, keys)
    for line in verdict.good:
        click.echo(f"ok: {line}")
    for line in verdict.faults:
        click.echo(f"FAILED: {line}")
    if trusted is None and keys is None:
        click.echo("note: no --fingerprint says whose key to trust; compare the one above with a source of your own")
    return 1 if verdict.faults else 0
