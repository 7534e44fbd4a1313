"""Which image a pod's stage1 is made of: what a --stage1-* flag names, else the default that was built with rkt."""

from __future__ import annotations

import json
import pkgutil
import sys
import time
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from common.errors import UserError
from common.version import VERSION
from stage0.images.fetch import Fetcher
from stage0.settings.insecure import Insecure
from stage0.settings.pull_policy import PullPolicy
from stage0.settings.settings import Settings
from stage0.store import ImageId, Remote, Store

_DEVELOPMENT = ("-dirty", "+git")
"""Versions that more than one image may have: the store is not asked for them."""


class Selector(Enum):
    """The flags that name a stage1 image; at most one is given."""

    URL = "stage1-url"
    PATH = "stage1-path"
    NAME = "stage1-name"
    HASH = "stage1-hash"
    FROM_DIR = "stage1-from-dir"


@dataclass(frozen=True)
class Defaults:
    """What configure.py was told of the default stage1."""

    stage1_name: str
    stage1_version: str
    stage1_location: str
    """An absolute path or a URL; empty where the image lies beside the program."""
    images_directory: str

    @classmethod
    def load(cls) -> Defaults:
        """The values that this program was built with; without a version of its own the image has that of rkt."""
        values: dict[str, str] = json.loads(pkgutil.get_data("stage0.images", "defaults.json") or b"")
        return cls(**values | {"stage1_version": values["stage1_version"] or VERSION})


@dataclass(frozen=True)
class Stage1Images:
    """Finds stage1 images, and decides which of them need no signature.

    These do not: an image beside the program, one in the store, and a file of the images directory or at the location
    that rkt was built with. All others need a trusted key, or --insecure-options=image.
    """

    settings: Settings
    store: Store
    defaults: Defaults
    program_dir: Path
    """The directory of rkt itself."""

    def select(self, selector: Selector, value: str) -> ImageId:
        """The image that a flag names. Raises `UserError` for one that cannot be had or trusted."""
        match selector:
            case Selector.HASH:
                return self.store.resolve_id(value)
            case Selector.NAME | Selector.URL:
                return self._fetch(value, trusted=selector is Selector.URL and value == self.defaults.stage1_location)
            case Selector.FROM_DIR:
                return self._fetch_file(self._images_directory / value)
            case Selector.PATH:
                path = Path(value).absolute()
                beside = self.program_dir / path.name
                if not path.exists() and beside.exists():
                    return self._file_beside(beside)
                return self._fetch_file(path)

    def default(self) -> ImageId:
        """The image of the configuration, else the one that was built with rkt. Raises `UserError`."""
        config, built = self.settings.config, self.defaults
        name, version = config.stage1_name or built.stage1_name, config.stage1_version or built.stage1_version
        if not version.endswith(_DEVELOPMENT):
            found = self.store.find(name, {"version": version})
            if found is not None:
                return found
        location = config.stage1_location or built.stage1_location
        if location and not location.startswith("/"):
            return self._fetch(location, trusted=location == built.stage1_location)
        file = Path(location).name or f"{name.rpartition('/')[2]}.aci"
        if location and Path(location).exists():
            return self._fetch_file(Path(location))
        for path in (self.program_dir / file, self._images_directory / file):
            if path.exists():
                return self._file_beside(path) if path.parent == self.program_dir else self._fetch_file(path)
        raise UserError(
            f"no stage1 image: {file} is neither in {self.program_dir} nor in {self._images_directory}",
            hint="name one by --stage1-path, --stage1-url, --stage1-name, --stage1-hash or --stage1-from-dir",
        )

    @property
    def _images_directory(self) -> Path:
        return Path(self.settings.config.stage1_images or self.defaults.images_directory)

    def _fetch_file(self, path: Path) -> ImageId:
        try:
            trusted = path.resolve().is_relative_to(Path(self.defaults.images_directory).resolve())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error
        if str(path) == self.defaults.stage1_location or trusted:
            return self._file_beside(path)
        return self._fetch(str(path), trusted=False)

    def _fetch(self, text: str, *, trusted: bool) -> ImageId:
        settings = self.settings
        if trusted:
            settings = replace(settings, insecure=settings.insecure | Insecure.IMAGE)
        return Fetcher(settings, self.store, PullPolicy.NEW).fetch(text)

    def _file_beside(self, path: Path) -> ImageId:
        """Import a trusted file, unless it is the one that was imported from there before."""
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error
        url = path.resolve().as_uri()
        state = f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
        known = self.store.get_remote(url)
        if known is not None and known.etag == state:
            return known.image_id
        image_id = self.store.import_aci(path)
        self.store.put_remote(Remote(url, "", state, image_id, 0, time.time()))
        return image_id


def program_directory() -> Path:
    """Where the file lies that is being executed."""
    return Path(sys.argv[0]).resolve().parent
