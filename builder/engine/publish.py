"""Puts the products of a build into its `bin/` directory."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from builder.engine.graph import Product
from builder.engine.scheduler import Outcome
from builder.engine.state import State
from common.errors import UserError
from common.files import beside


def publish(bindir: Path, products: Iterable[Product], outcomes: Mapping[str, Outcome], state: State) -> list[str]:
    """Bring `bindir` up to date and return the names that changed.

    A product whose step is not among the outcomes stays as it is, and so do the links to it. A file with the same
    content is not touched. What an earlier run put there and nobody wants any more is removed; other files are left
    alone.
    """
    products = tuple(products)
    changed = []
    for name in sorted(set(state.products) - {product.name for product in products}):
        (bindir / name).unlink(missing_ok=True)
        del state.products[name]
        changed.append(name)
    bindir.mkdir(exist_ok=True)
    for product in available(products, outcomes):
        target = bindir / product.name
        if target.is_dir() and not target.is_symlink():
            raise UserError(f"{target} is a directory; a file is to be put there", hint="remove or rename it")
        if product.link:
            if _put_link(target, product.link):
                changed.append(product.name)
            state.products[product.name] = ["link"]
        elif _put_file(target, product, outcomes[product.step], state):
            changed.append(product.name)
    return changed


def available(products: Iterable[Product], outcomes: Mapping[str, Outcome]) -> list[Product]:
    """The products whose content is among the outcomes."""
    products = tuple(products)
    files = {product.name for product in products if product.step in outcomes}
    return [product for product in products if (product.link or product.name) in files]


def _put_link(target: Path, destination: str) -> bool:
    if target.is_symlink() and os.fspath(target.readlink()) == destination:
        return False
    with beside(target) as temporary:
        temporary.symlink_to(destination)
    return True


def _put_file(target: Path, product: Product, outcome: Outcome, state: State) -> bool:
    origin = [outcome.entry.record.digest, product.file]
    if [*origin, *_status(target)] == state.products.get(product.name):
        return False
    source = outcome.entry.output / product.file
    if not source.is_file() or source.is_symlink():
        raise ValueError(f"product {product.name}: step {product.step} made no file {product.file}")
    changed = target.is_symlink() or not target.is_file() or not filecmp.cmp(source, target, shallow=False)
    if changed:
        try:
            with beside(target) as temporary:
                shutil.copyfile(source, temporary)
                temporary.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
        except OSError as error:
            raise UserError(f"cannot write {target}: {error.strerror}") from error
    state.products[product.name] = [*origin, *_status(target)]
    return changed


def _status(target: Path) -> list[int]:
    try:
        status = target.lstat()
    except FileNotFoundError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_mode]
