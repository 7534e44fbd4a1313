"""Where systemd and the other programs of the guest come from.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

from enum import Enum

from builder.model.config import BuildConfig
from builder.model.flavor import Flavor, Isolation
from common.errors import UserError

KEY = "userland.origin"


class Origin(Enum):
    """Where they come from. What an origin does not have, the launcher's Python first of all, is from Debian."""

    DEBIAN = "debian"
    SRC = "src"
    """systemd alone, compiled from its source."""
    COREOS = "coreos"
    """A PXE image of Container Linux or of one of its successors."""
    HOST = "host"
    """The machine that builds."""

    def has_to_have(self, component: str) -> bool:
        """Whether everything in the list of that name has to come from it."""
        if self is Origin.SRC:
            return component in ("systemd", "journald")
        return self is not Origin.DEBIAN and component not in ("python", "network")


def origin_of(config: BuildConfig, flavor: Flavor) -> Origin:
    """The origin of a flavor's userland in a build. Raises `UserError` as `origin_for`."""
    return origin_for(config.userland.pxe_image, flavor)


def origin_for(pxe_image: str | None, flavor: Flavor) -> Origin:
    """The origin of a flavor's userland. A PXE image that was named is for all flavors that do not choose themselves.

    Raises `UserError` for a word that means nothing, and for a PXE image that nobody named.
    """
    origin = flavor.keys.userland.origin
    text = origin.value
    if not text:
        takes_image = pxe_image is not None and flavor.isolation is not Isolation.CHROOT
        return Origin.COREOS if takes_image else Origin.DEBIAN
    known = [member.value for member in Origin]
    where = origin.where
    if text not in known:
        raise UserError(f'{where}: {KEY} "{text}"', hint=f"choose from {', '.join(known)}")
    if Origin(text) is Origin.COREOS and not pxe_image:
        raise UserError(f"{where}: no PXE image is named", hint="see --with-coreos-local-pxe-image-path")
    return Origin(text)
