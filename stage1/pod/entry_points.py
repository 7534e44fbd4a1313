"""The programs of this image that rkt executes on the host: its entry points, by the manifest of stage1."""

from __future__ import annotations

import posixpath

from stage1.host.paths import Tree
from stage1.pod.manifest import read_annotations, read_object

_MANIFEST = "stage1/manifest"
"""In the pod directory, where rkt reads it too and no guest writes."""
_PREFIX = "coreos.com/rkt/stage1/"
_VERSION = f"{_PREFIX}interface-version"


def load_entry_points(pod_directory: Tree) -> tuple[str, ...]:
    """Their paths, relative to the root of the image. Raises `UserError` for a manifest that cannot be read."""
    where = "manifest of stage1"
    noted = read_annotations(read_object(pod_directory, _MANIFEST, where), where)
    names = (value for name, value in noted.items() if name.startswith(_PREFIX) and name != _VERSION)
    # As rkt finds them.
    paths = (posixpath.normpath(f"/{name}").lstrip("/") for name in names)
    return tuple(sorted({path for path in paths if path}))
