"""`mkstage1 verify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from builder.inspection.image import read_image
from builder.inspection.verify import Check, Outcome, verify_image, verify_signature
from common.errors import UserError

_SHOWN = 5
_FILE = click.Path(path_type=Path)


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


def _facts(check: Check) -> dict[str, object]:
    return {"subject": check.subject, "outcome": check.outcome.value, "details": list(check.details)}


def _line(check: Check) -> str:
    shown, rest = check.details[:_SHOWN], len(check.details) - _SHOWN
    more = f"; and {rest} more (--json has all)" if rest > 0 else ""
    details = f": {'; '.join(shown)}{more}" if shown else ""
    return f"{check.subject:<13} {check.outcome.value}{details}"
