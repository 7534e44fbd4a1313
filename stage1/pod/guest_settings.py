"""What the flavor says of the guest: the parts that it can do without, and words for its kernel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.manifest import read_object, text, texts, typed

SETTINGS = "usr/lib/stage1/guest.json"
"""The flavor's settings, below the root of the image: values by the names of `GuestSettings`."""


class Isolation(Enum):
    """What keeps a pod apart from the host."""

    MACHINE = "machine"
    """A virtual machine, with a kernel of its own."""
    CONTAINER = "container"
    """Namespaces and control groups of the host's kernel."""
    CHROOT = "chroot"
    """Nothing but a root directory of its own."""


@dataclass(frozen=True)
class GuestSettings:
    """A guest as the flavor kvm has it, unless the flavor says otherwise."""

    journal: bool = True
    """Whether the guest has journald; without it the apps' lines go to the console alone."""
    network: bool = True
    """Whether pods can have networks."""
    kernel_parameters: tuple[str, ...] = ()
    """Words for the kernel's command line."""
    isolation: Isolation = Isolation.MACHINE
    flavor: str = "kvm"
    """rkt's name for pods of this kind, of which its tools expect a link in the pod directory."""


def load_guest_settings(image: Tree) -> GuestSettings:
    """Read the file of the image. Raises `UserError` for one that is not there, or not what it has to be."""
    found = read_object(image, SETTINGS, "guest")
    isolation = typed(found, "isolation", str, "guest") or Isolation.MACHINE.value
    if isolation not in (member.value for member in Isolation):
        raise UserError(f"{SETTINGS}: isolation: {isolation!r} is unknown")
    return GuestSettings(
        journal=typed(found, "journal", bool, "guest") is not False,
        network=typed(found, "network", bool, "guest") is not False,
        kernel_parameters=tuple(texts(found, "kernel_parameters", "guest")),
        isolation=Isolation(isolation),
        flavor=text(found, "flavor", "guest") or "kvm",
    )
