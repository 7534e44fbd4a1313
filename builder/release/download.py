"""Fetches a release that is published, for its verification."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from builder.image.sign import SIGNATURE_SUFFIX
from builder.release import site, sums
from builder.sources.download import fetch


def download(url: str, folder: Path) -> None:
    """Fetch the sums, and everything that they list. Raises `UserError` for what the server does not have."""
    for name in (sums.NAME, sums.NAME + SIGNATURE_SUFFIX, site.PUBLIC_KEYS):
        fetch(f"{url}/{name}", folder / name)
    # What is not verified yet names files, and no more: paths that lead elsewhere are refused.
    listed = sums.parse((folder / sums.NAME).read_text(errors="replace"))
    for name in tqdm(sorted(set(listed) - {site.PUBLIC_KEYS}), desc="download", unit="file", disable=None):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(f"{url}/{name}", target)
