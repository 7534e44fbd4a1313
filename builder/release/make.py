"""Makes a release: nothing of it has its final name before all of it is there and verified."""

from __future__ import annotations

import importlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.engine.build import REPORT_NAME
from builder.engine.console import Console
from builder.engine.store import locked, remove
from builder.image.sign import SIGNATURE_SUFFIX, SigningKey, sign_with
from builder.inspection.page.page import Sources
from builder.inspection.page.page import render as render_report
from builder.inspection.sbom.bill import read_bill
from builder.model.architecture_files import load_architecture
from builder.model.config import BuildConfig
from builder.model.flavor import Flavors
from builder.model.variants import manifest_name, variants
from builder.release import notes, packages, provenance, site, sums
from builder.release.keys import merge_public_keys, release_key
from builder.release.preconditions import Tagged, check
from builder.release.twice import Built, build_twice
from builder.release.verify import BILLS, verify_folder
from common.errors import UserError
from common.files import beside


@dataclass(frozen=True)
class Request:
    """What a person asks for."""

    output: Path
    """The folder of all releases: this one becomes `v<version>` in it."""
    url: str = ""
    """Where that folder's content will be published; empty for https:// and the domain of the images."""
    builder: str = provenance.DEFAULT_BUILDER
    """URI that tells who builds, for the provenance."""
    key_file: Path | None = None
    passphrase_file: Path | None = None
    previous: Path | None = None
    """The folder of the release before."""
    further_keys: tuple[Path, ...] = ()
    """Public keys that are published besides: of releases before."""

    def passphrase_of(self, config: BuildConfig) -> Path | None:
        """The file that was named here, else that of configure; None where the agent has it, or asks."""
        return self.passphrase_file or config.signing.passphrase_file


@dataclass(frozen=True)
class _Published:
    """An image under its name in a release."""

    file: str
    origin: Path
    name: str
    """Of the manifest."""
    base: str
    """The file's name up to the version."""
    arch: str
    found_by_name: bool
    """Whether discovery leads to it: of several that only differ in the hypervisor or kernel it is the first."""


def make_release(config: BuildConfig, request: Request, console: Console, jobs: int) -> Path:
    """Check, build twice, sign, verify; the folder of the release. Raises `UserError`, and then there is no folder."""
    tagged = check(config, has_key=request.key_file is not None)
    target = request.output / tagged.tag
    if target.exists():
        raise UserError(f"{target} exists", hint="a release is made once: remove it to make it again")
    changes = notes.changes_of(config.srcdir / "CHANGELOG.md", config.stage1.version)
    with locked(config.builddir / ".release.lock", time.sleep), release_key(config, request.key_file) as key:
        _rehearse(config, request, key, console)
        # Where something fails it stays, with its logs, until the next attempt.
        work = config.builddir / "release"
        # And what was left of it where a removal was killed.
        for place in (work, *config.builddir.glob(f".{work.name}.*.trash")):
            remove(place)
        built = build_twice(config, tagged, work, console, jobs)
        with beside(target, request.output / f".{tagged.tag}.partial") as partial:
            partial.mkdir(parents=True)
            console.line(f"sign and verify {tagged.tag}")
            _Release(built, tagged, request, key, partial, changes).write()
            verify_folder(partial, {key.fingerprint}).require()
        remove(work)
    return target


def _rehearse(config: BuildConfig, request: Request, key: SigningKey, console: Console) -> None:
    """What would otherwise fail after two builds: that the key signs, and that what was named besides is of use."""
    dict(_previous(request.previous, _published(config, Path())))
    with tempfile.TemporaryDirectory(prefix="mkstage1-release-") as scratch:
        sample = Path(scratch) / "release"
        sample.write_bytes(b"")
        signature = sign_with(sample, key, Path(scratch) / "key.asc", request.passphrase_of(config))
        if signature.warning:
            console.line(f"warning: {signature.warning}")
        merge_public_keys((signature.public_key, *request.further_keys), sample)


@dataclass(frozen=True)
class _Release:
    built: Built
    tagged: Tagged
    request: Request
    key: SigningKey
    folder: Path
    changes: str

    def write(self) -> None:
        config = self.built.config
        version, names = config.stage1.version, []
        images = tuple(_published(config, self.built.bin))
        for image in images:
            shutil.copyfile(image.origin, self.folder / image.file)
            self._sign(image.file)
            names += [image.file, *self._papers(image.file)]
        names += self._programs(images)
        previous = dict(_previous(self.request.previous, images))
        text = notes.render(version, self.changes, {image.file: image.origin for image in images}, previous)
        (self.folder / notes.NAME).write_text(text)
        # The public key of any signature is that of all.
        merge_public_keys((self._public_key, *self.request.further_keys), self.folder / site.PUBLIC_KEYS)
        self._public_key.unlink()
        names += [notes.NAME, site.PUBLIC_KEYS]
        for image in images:
            page = f"{image.file}.html"
            (self.folder / page).write_text(self._report(image.file, previous.get(image.file)))
            names.append(page)
        found = {image.name: image.base for image in images if image.found_by_name}
        url = self.request.url.rstrip("/") or f"https://{images[0].name.partition('/')[0]}"
        signatures = [path.name for path in self.folder.glob(f"*{SIGNATURE_SUFFIX}")]
        listed = [*names, *signatures]
        pages = site.write(site.Site(url, found), self.folder, version, self.key.fingerprint, listed)
        (self.folder / sums.NAME).write_text(sums.render(self.folder, [*listed, *pages]))
        self._sign(sums.NAME)
        self._public_key.unlink()

    @property
    def _public_key(self) -> Path:
        return self.folder / ".public-key.asc"

    def _sign(self, name: str) -> None:
        sign_with(self.folder / name, self.key, self._public_key, self._passphrase_file)

    @property
    def _passphrase_file(self) -> Path | None:
        return self.request.passphrase_of(self.built.config)

    def _papers(self, file: str) -> Iterator[str]:
        """Bills of materials and provenance of an image."""
        bill = read_bill(self.folder / file, self.built.bin / REPORT_NAME)
        for suffix, form in BILLS.items():
            try:
                render = importlib.import_module(f"builder.inspection.sbom.{form}").render
            except ImportError as error:
                raise UserError(f"{error.name} is not installed", hint="run make release-tools") from error
            (self.folder / f"{file}{suffix}").write_text(render(bill))
            yield f"{file}{suffix}"
        name = f"{file}{provenance.SUFFIX}"
        said = provenance.statement(self.folder / file, self.built.config, self.tagged, self.request.builder)
        with tempfile.TemporaryDirectory(prefix="mkstage1-release-") as scratch:
            public_key = Path(scratch) / "key.asc"

            def sign(path: Path) -> Path:
                return sign_with(path, self.key, public_key, self._passphrase_file).path

            provenance.write(self.folder / name, said, self.key.fingerprint, sign)
        yield name

    def _report(self, file: str, previous: Path | None) -> str:
        sources = Sources(
            record=self.built.bin / REPORT_NAME,
            against=previous,
            kernel_configs=self.built.config.srcdir / "kernel-configs",
        )
        return render_report(self.folder / file, sources)

    def _programs(self, images: tuple[_Published, ...]) -> Iterator[str]:
        config, epoch = self.built.config, self.tagged.time
        target = self.folder / f"rkt-v{config.stage1.version}.tar.gz"
        packages.tarball(self.built, target, epoch)
        yield from self._signed(target.name)
        yield from self._signed(packages.wheel(self.built, self.folder, epoch).name)
        for arch in config.stage1.architectures:
            machine = load_architecture(arch)
            # `rkt run` looks for the last part of an image's name.
            installed: dict[str, Path] = {}
            for image in (one for one in images if one.arch == arch):
                name = f"{image.name.rpartition('/')[2] if image.found_by_name else image.base}.aci"
                installed |= {name: image.origin, f"{name}{SIGNATURE_SUFFIX}": self._signature(image.file)}
            package = self.folder / f"rkt_{config.stage1.version}_{machine.debian}.deb"
            packages.debian_package(self.built, installed, package, machine, self.key.user_id, epoch)
            yield from self._signed(package.name)

    def _signature(self, file: str) -> Path:
        return self.folder / f"{file}{SIGNATURE_SUFFIX}"

    def _signed(self, name: str) -> Iterator[str]:
        self._sign(name)
        yield name


def _published(config: BuildConfig, folder: Path) -> Iterator[_Published]:
    """The images of a build, which are in `folder`."""
    several = len(config.stage1.architectures) > 1
    for flavor in Flavors.of(config.srcdir, config.stage1.flavors_path).load_all(config.stage1.flavors):
        for arch in config.stage1.architectures:
            made = variants(config, load_architecture(arch), flavor)
            for number, variant in enumerate(made):
                base = variant.file.removesuffix(".aci").removesuffix(f"-{arch}" if several else "")
                file = f"{base}-{config.stage1.version}-linux-{arch}.aci"
                name = manifest_name(config, flavor)
                yield _Published(file, folder / variant.file, name, base, arch, number == 0)


def _previous(folder: Path | None, images: Iterable[_Published]) -> Iterator[tuple[str, Path]]:
    """The image of the release before that each follows. Raises `UserError` for a folder that has none of them."""
    if folder is None:
        return
    count = 0
    for image in images:
        for path in folder.glob(f"{image.base}-[0-9]*-linux-{image.arch}.aci"):
            count += 1
            yield image.file, path
    if not count:
        raise UserError(f"{folder} has none of these images", hint="name the folder of the release before")
