"""The pod's journal among those of the host: a link by which `journalctl -m` finds it."""

from __future__ import annotations

import os
from contextlib import suppress

from stage1.host.errors import UserError, report

JOURNAL_FOLDER = "/var/log/journal"
"""Where the host's journald looks for journals of other machines."""

_SYSTEMD = "/run/systemd/system"
"""Exists where the host runs systemd (sd_booted(3))."""


def link_journal(uuid: str, journal_folder: str = JOURNAL_FOLDER, systemd: str = _SYSTEMD) -> None:
    """Link the journal of the pod in the working directory into the host's folder of journals.

    Nothing is done where the host has no such folder or does not run systemd. A failure is only reported: the pod
    keeps its journal all the same.
    """
    if not (os.path.isdir(systemd) and os.path.isdir(journal_folder)):
        return
    link = _link(uuid, journal_folder)
    try:
        with suppress(FileNotFoundError):
            if os.path.islink(link):
                os.unlink(link)
        os.symlink(os.path.abspath(f"stage1/rootfs/var/log/journal/{os.path.basename(link)}"), link)
    except OSError as error:
        report("warning", f"the pod's journal is not linked to {link}: {error.strerror}")


def remove_journal_link(uuid: str, journal_folder: str = JOURNAL_FOLDER) -> None:
    """Remove that link where it is there. Raises `UserError` where it stays."""
    link = _link(uuid, journal_folder)
    try:
        if os.path.islink(link):
            os.unlink(link)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"cannot remove {link}: {error.strerror}") from error


def _link(uuid: str, journal_folder: str) -> str:
    return f"{journal_folder}/{uuid.replace('-', '')}"
