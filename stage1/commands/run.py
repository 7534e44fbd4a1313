"""`run`: prepare the pod in the working directory and become its hypervisor, what starts its container, or its app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stage1.commands.start import PodKind, load_start
from stage1.pod.guest_settings import Isolation


def run(front: int, words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Prepare everything and execute what the pod runs in, in place of this process.

    `front` is the process that stays as the pod's own: this one's parent. Raises `UserError`.
    """
    start = load_start(front, words, environment)
    kind_of(start.settings.isolation).run(start)


def kind_of(isolation: Isolation) -> PodKind:
    """The kind of a pod. The code of the others is not read: reading modules is most of what a start costs."""
    match isolation:
        case Isolation.MACHINE:
            from stage1.commands.machine_pod import MachinePod

            return MachinePod()
        case Isolation.CONTAINER:
            from stage1.commands.container_pod import ContainerPod

            return ContainerPod()
        case Isolation.CHROOT:
            from stage1.commands.fly import FlyPod

            return FlyPod()
