"""`mkstage1 report`."""

from __future__ import annotations

from pathlib import Path

import click

from common.errors import UserError
from common.files import write_atomically

_FILE = click.Path(path_type=Path)
_FRAGMENTS = Path(__file__).resolve().parents[2] / "kernel-configs"


@click.command()
@click.argument("image", type=_FILE)
@click.option("--output", "-o", type=_FILE, help="File to write; IMAGE with .html behind it by default.")
@click.option("--against", type=_FILE, metavar="IMAGE", help="Another image, to compare with.")
@click.option("--record", type=_FILE, help="Record of the build; build.json beside IMAGE by default.")
@click.option("--boot", type=_FILE, metavar="DIR", help="Journal of a pod, for the time line of its start.")
def report(image: Path, output: Path | None, against: Path | None, record: Path | None, boot: Path | None) -> None:
    """Write one page about an image: its content, parts, kernel options and signature, its build, and how it boots.

    The time line of a pod's start has units where the pod was run with RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS set to
    "systemd.log_target=journal-or-kmsg systemd.log_level=info".
    """
    try:
        from builder.inspection.page.page import Sources, render
    except ImportError as error:
        raise UserError(
            f"{error.name}, for mkstage1 report, is not installed", hint="run make release-tools"
        ) from error
    sources = Sources(record, boot, against, _FRAGMENTS if _FRAGMENTS.is_dir() else None)
    target = output or image.with_name(image.name + ".html")
    write_atomically(target, render(image, sources))
    click.echo(target)
