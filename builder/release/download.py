"""Fetches a release that is published, for its verification."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import requests
from tqdm import tqdm

from builder.errors import UserError
from builder.release import site, sums
from builder.sign import SIGNATURE_SUFFIX

_TIMEOUT = 60
_CHUNK = 1 << 20
_SMALL = 16 << 20


def download(url: str, folder: Path) -> None:
    """Fetch the sums, and everything that they list. Raises `UserError` for what the server does not have."""
    with requests.Session() as session:
        for name in (sums.NAME, sums.NAME + SIGNATURE_SUFFIX, site.PUBLIC_KEYS):
            _fetch(session, f"{url}/{name}", folder / name, limit=_SMALL)
        # What is not signed yet names files, and no more: paths that lead elsewhere are refused.
        listed = sums.parse((folder / sums.NAME).read_text(errors="replace"))
        for name in tqdm(sorted(set(listed) - {site.PUBLIC_KEYS}), desc="download", unit="file", disable=None):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(session, f"{url}/{name}", target)


def _fetch(session: requests.Session, url: str, target: Path, limit: int | None = None) -> None:
    size = 0
    try:
        with session.get(url, timeout=_TIMEOUT, stream=True) as answer:
            answer.raise_for_status()
            with target.open("wb") as file:
                for chunk in _chunks(answer):
                    size += len(chunk)
                    if limit is not None and size > limit:
                        raise UserError(f"{url} is larger than {limit} bytes", hint="it is not what it is taken for")
                    file.write(chunk)
    except requests.RequestException as error:
        raise UserError(f"{url}: {error}", hint="name the URL of the folder that has SHA256SUMS") from error


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    yield from answer.iter_content(_CHUNK)
