"""Programs in the pod in the working directory, whatever keeps it apart from the host."""

from __future__ import annotations

from stage1.channel.frames import Request
from stage1.host.paths import Tree
from stage1.pod.guest_settings import Isolation


def run_in_pod(request: Request, isolation: Isolation, image: Tree, *, with_input: bool = True) -> int:
    """Run what is asked for with our standard streams in the pod; its exit status. A pod that starts is waited for.

    Raises `UserError` where there is no session, or it ends with the pod. Only the code of one kind of pod is read.
    """
    match isolation:
        case Isolation.MACHINE:
            from stage1.channel.broker import connect
            from stage1.channel.client import run_session
            from stage1.channel.prepare import require_channel

            require_channel(image)
            with connect() as connection:
                return run_session(connection, request, with_input=with_input)
        case Isolation.CONTAINER:
            from stage1.container.inside import run_inside

            return run_inside(request, with_input=with_input)
        case Isolation.CHROOT:
            from stage1.commands.fly_app import enter_app

            return enter_app(request.app, image, request.arguments)
