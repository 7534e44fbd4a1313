"""A pod that is to be started, and what every way to keep one apart from the host has in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stage1.commands.arguments import RunArguments, parse_run
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.entry_points import load_entry_points
from stage1.pod.guest_settings import GuestSettings, load_guest_settings
from stage1.pod.lock import inherited_lock
from stage1.pod.pod import Pod, load_pod

POD_DIRECTORY = "."
IMAGE = "stage1/rootfs"
"""Root of the image, relative to the pod directory."""


@dataclass(frozen=True)
class Start:
    """What is known of a pod when its start begins, in the pod directory."""

    front: int
    """The process that stays as the pod's own: this one's parent."""
    arguments: RunArguments
    environment: Mapping[str, str]
    lock: int | None
    """Descriptor that holds the pod's lock; None where there is none."""
    pod: Pod
    settings: GuestSettings
    entry_points: tuple[str, ...]
    """What rkt executes of the image, relative to its root."""
    directory: Tree
    image: Tree


def load_start(front: int, words: Sequence[str], environment: Mapping[str, str]) -> Start:
    """Read the command line, the pod and the flavor's settings. Raises `UserError`."""
    arguments = parse_run(words)
    lock = inherited_lock(environment)
    directory, image = Tree(POD_DIRECTORY), Tree(IMAGE)
    if not image.is_directory("."):
        raise UserError(f"there is no {IMAGE} in {os.getcwd()}: run is executed in a pod directory")
    pod = load_pod(arguments.uuid, directory, image)
    settings, entry_points = load_guest_settings(image), load_entry_points(directory)
    return Start(front, arguments, environment, lock, pod, settings, entry_points, directory, image)


class PodKind(ABC):
    """How a pod is kept apart from the host: one class for each `Isolation`."""

    @abstractmethod
    def run(self, start: Start) -> None:
        """Prepare the pod and become what it runs in. Raises `UserError`; otherwise it does not return."""
