"""`mkstage1 inspect`, `mkstage1 verify` and `mkstage1 diff`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from builder.inspection.image import as_json, as_text, read_image
from builder.inspection.verify import Check, Outcome, verify_image, verify_signature
from common.errors import UserError

_SHOWN = 5
_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.option("--files", is_flag=True, help="List the entries too.")
def inspect(file: Path, as_object: bool, files: bool) -> None:
    """Show what an image holds: manifest, image ID, sizes by component, kernel version and options."""
    image = read_image(file)
    click.echo(as_json(image, files=files) if as_object else as_text(image, files=files))


@click.command()
@click.argument("file", type=_FILE)
@click.option("--signature", type=_FILE, help="Detached signature; FILE.asc by default.")
@click.option(
    "--key",
    "--keyring",
    "keys",
    type=_FILE,
    multiple=True,
    help="File of public keys that are trusted; *.pub.asc beside FILE by default. May be repeated.",
)
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
def verify(file: Path, signature: Path | None, keys: tuple[Path, ...], as_object: bool) -> None:
    """Check layout, schema, entry points and signature of an image. Exit status 1 where one of them is wrong."""
    checks = (*verify_image(read_image(file)), verify_signature(file, signature, keys))
    failed = [check for check in checks if check.outcome is Outcome.FAILED]
    if as_object:
        facts = {"file": str(file), "ok": not failed, "checks": [_facts(check) for check in checks]}
        click.echo(json.dumps(facts, indent=2))
    else:
        for check in checks:
            click.echo(_line(check))
    if failed:
        others = sum(len(check.details) for check in failed) - 1
        raise UserError(f"{file}: {failed[0].details[0]}", hint=f"{others} more above" if others else "")


@click.command()
@click.argument("old", type=_FILE, metavar="OLD")
@click.argument("new", type=_FILE, metavar="NEW")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
def diff(old: Path, new: Path, as_object: bool) -> int:
    """Say what changed from image OLD to image NEW: labels, packages, kernel and its options, files, sizes.

    Exit status 0 where nothing did, 1 where something did, and 2 for an error, as that of diff(1).
    """
    from builder.inspection import diff as differing

    try:
        before, after = read_image(old, digests=True), read_image(new, digests=True)
        found = differing.difference(before, after)
    except UserError as error:
        click.echo(error.render("mkstage1"), err=True)
        return 2
    if as_object:
        click.echo(differing.as_json(before, after, found))
    elif found:
        for line in differing.as_text(before, after, found):
            click.echo(line)
    return 1 if found else 0


def _facts(check: Check) -> dict[str, object]:
    return {"subject": check.subject, "outcome": check.outcome.value, "details": list(check.details)}


def _line(check: Check) -> str:
    shown, rest = check.details[:_SHOWN], len(check.details) - _SHOWN
    more = f"; and {rest} more (--json has all)" if rest > 0 else ""
    details = f": {'; '.join(shown)}{more}" if shown else ""
    return f"{check.subject:<13} {check.outcome.value}{details}"
