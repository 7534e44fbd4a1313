"""Removal of a pod's networks, from the plan in its directory alone. It may run any number of times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.network.firewall import firewall_named
from stage1.network.ipam import plugin_folders, release
from stage1.network.netlink import delete_link
from stage1.network.plan import read_plan


def teardown(pod: str, pod_directory: Tree, local_config: str, images: Sequence[str]) -> None:
    """Remove rules, devices and leases. What cannot be removed does not keep the rest; it is raised as `UserError`.

    `images` are the roots of images that may have the IPAM plugin: after a reboot the pod's own may be gone.
    """
    plan = read_plan(pod, pod_directory)
    if plan is None:
        return
    folders = plugin_folders(local_config, images)
    steps: list[Callable[[], None]] = []
    if plan.firewall:
        steps.append(partial(_remove_rules, plan.firewall, pod))
    for call in plan.networks:
        steps += [partial(delete_link, call.host_interface), partial(release, call, folders)]
    failures = []
    for step in steps:
        try:
            step()
        except (UserError, OSError) as error:
            failures.append(str(error))
    if failures:
        raise UserError(f"cannot remove the pod's networks: {'; '.join(failures)}")


def _remove_rules(firewall: str, pod: str) -> None:
    firewall_named(firewall).remove(pod)
