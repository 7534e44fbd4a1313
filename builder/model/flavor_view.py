"""The keys of a flavor as attributes, with types.

`make docs` generates this file from flavor_schema.toml: change that.
"""

from __future__ import annotations

from builder.model.flavor_values import Flag, Keys, Table, Text, Texts


class ManifestKeys(Keys):
    """The table [manifest]."""

    @property
    def name(self) -> Text:
        """`manifest.name`."""
        return Text(self.at("manifest.name"))

    @property
    def template(self) -> Text:
        """`manifest.template`."""
        return Text(self.at("manifest.template"))

    @property
    def annotations(self) -> Table:
        """`manifest.annotations`."""
        return Table(self.at("manifest.annotations"))


class KernelKeys(Keys):
    """The table [kernel]."""

    @property
    def forms(self) -> Table:
        """`kernel.forms`."""
        return Table(self.at("kernel.forms"))

    @property
    def versions(self) -> Texts:
        """`kernel.versions`."""
        return Texts(self.at("kernel.versions"))

    @property
    def fragments(self) -> Texts:
        """`kernel.fragments`."""
        return Texts(self.at("kernel.fragments"))

    @property
    def without(self) -> Texts:
        """`kernel.without`."""
        return Texts(self.at("kernel.without"))

    @property
    def patches(self) -> Texts:
        """`kernel.patches`."""
        return Texts(self.at("kernel.patches"))

    @property
    def parameters(self) -> Texts:
        """`kernel.parameters`."""
        return Texts(self.at("kernel.parameters"))


class MemoryKeys(Keys):
    """The table [memory]."""

    @property
    def app(self) -> Text:
        """`memory.app`."""
        return Text(self.at("memory.app"))

    @property
    def system(self) -> Text:
        """`memory.system`."""
        return Text(self.at("memory.system"))

    @property
    def minimum(self) -> Text:
        """`memory.minimum`."""
        return Text(self.at("memory.minimum"))


class GuestKeys(Keys):
    """The table [guest]."""

    @property
    def journal(self) -> Flag:
        """`guest.journal`."""
        return Flag(self.at("guest.journal"))

    @property
    def network(self) -> Flag:
        """`guest.network`."""
        return Flag(self.at("guest.network"))

    @property
    def services(self) -> Texts:
        """`guest.services`."""
        return Texts(self.at("guest.services"))


class UserlandKeys(Keys):
    """The table [userland]."""

    @property
    def origin(self) -> Text:
        """`userland.origin`."""
        return Text(self.at("userland.origin"))

    @property
    def packages(self) -> Texts:
        """`userland.packages`."""
        return Texts(self.at("userland.packages"))

    @property
    def files(self) -> Texts:
        """`userland.files`."""
        return Texts(self.at("userland.files"))

    @property
    def without(self) -> Texts:
        """`userland.without`."""
        return Texts(self.at("userland.without"))


class RootfsKeys(Keys):
    """The table [rootfs]."""

    @property
    def directories(self) -> Texts:
        """`rootfs.directories`."""
        return Texts(self.at("rootfs.directories"))

    @property
    def symlinks(self) -> Table:
        """`rootfs.symlinks`."""
        return Table(self.at("rootfs.symlinks"))

    @property
    def trees(self) -> Table:
        """`rootfs.trees`."""
        return Table(self.at("rootfs.trees"))

    @property
    def modes(self) -> Table:
        """`rootfs.modes`."""
        return Table(self.at("rootfs.modes"))

    @property
    def without(self) -> Texts:
        """`rootfs.without`."""
        return Texts(self.at("rootfs.without"))


class FlavorKeys(Keys):
    """Every key."""

    @property
    def extends(self) -> Text:
        """`extends`."""
        return Text(self.at("extends"))

    @property
    def summary(self) -> Text:
        """`summary`."""
        return Text(self.at("summary"))

    @property
    def isolation(self) -> Text:
        """`isolation`."""
        return Text(self.at("isolation"))

    @property
    def hypervisors(self) -> Texts:
        """`hypervisors`."""
        return Texts(self.at("hypervisors"))

    @property
    def requires(self) -> Table:
        """`requires`."""
        return Table(self.at("requires"))

    @property
    def manifest(self) -> ManifestKeys:
        """The table [manifest]."""
        return ManifestKeys(self.items)

    @property
    def kernel(self) -> KernelKeys:
        """The table [kernel]."""
        return KernelKeys(self.items)

    @property
    def memory(self) -> MemoryKeys:
        """The table [memory]."""
        return MemoryKeys(self.items)

    @property
    def guest(self) -> GuestKeys:
        """The table [guest]."""
        return GuestKeys(self.items)

    @property
    def userland(self) -> UserlandKeys:
        """The table [userland]."""
        return UserlandKeys(self.items)

    @property
    def rootfs(self) -> RootfsKeys:
        """The table [rootfs]."""
        return RootfsKeys(self.items)
