"""Isolators of an app as settings of its systemd unit (appc spec 0.8.11, Linux Isolators and Resource Isolators)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stage1.apps.seccomp import seccomp_settings
from stage1.host.errors import UserError
from stage1.pod.manifest import json_object, shown, texts
from stage1.pod.pod import App
from stage1.pod.resources import resource_limit

Settings = list[tuple[str, str]]
"""Settings of a unit in their order; a name can occur more than once."""

_RETAIN = "os/linux/capabilities-retain-set"
_REMOVE = "os/linux/capabilities-remove-set"
_NO_NEW_PRIVILEGES = "os/linux/no-new-privileges"
_CPU_SHARES = "os/linux/cpu-shares"
_OOM_SCORE_ADJ = "os/linux/oom-score-adj"

_CAPABILITY = re.compile(r"CAP_[A-Z_]{1,40}")
_DEFAULT_CAPABILITIES = frozenset(
    (
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    )
)
"""What an app keeps of root's privileges unless it says otherwise (appc spec, Linux Isolators)."""

# cgroup v1 counts shares around 1024, systemd weights around 100 (systemd.resource-control(5)).
_SHARES, _WEIGHT, _WEIGHTS = 1024, 100, (1, 10000)
_CPUS = 10000
"""No machine has more; systemd ignores a quota that does not fit into its numbers."""


def isolator_settings(app: App, uid: int, *, capabilities: bool, seccomp: bool) -> Settings:
    """What the isolators of an app that runs as `uid` mean to systemd.

    Without `capabilities` and `seccomp` those isolators are ignored, and nothing is restricted. Raises `UserError`.
    """
    where = f"app {app.name}"
    settings: Settings = []
    if capabilities:
        settings.append(("CapabilityBoundingSet", " ".join(sorted(_capabilities(app.isolators, where)))))
    calls = seccomp_settings(app.isolators, where) if seccomp else []
    # As rkt does: a process without privileges may only filter its calls where it can gain none.
    if _flag(app.isolators, _NO_NEW_PRIVILEGES, where) or (calls and uid):
        settings.append(("NoNewPrivileges", "yes"))
    return [*settings, *calls, *_resources(app, where)]


def further_capabilities(app: App) -> frozenset[str]:
    """What an app keeps of root's privileges besides what every app does. Raises `UserError`."""
    return _capabilities(app.isolators, f"app {app.name}") - _DEFAULT_CAPABILITIES


def _capabilities(isolators: Mapping[str, Any], where: str) -> frozenset[str]:
    retained, removed = (_capability_set(isolators, name, where) for name in (_RETAIN, _REMOVE))
    if retained is not None and removed is not None:
        raise UserError(f"{where}: {_RETAIN} and {_REMOVE} exclude each other")
    if retained is not None:
        return retained
    return _DEFAULT_CAPABILITIES - (removed or frozenset())


def _capability_set(isolators: Mapping[str, Any], name: str, where: str) -> frozenset[str] | None:
    if name not in isolators:
        return None
    where = f"{where}: isolator {name}"
    names = frozenset(texts(json_object(isolators[name], where), "set", where))
    for capability in names:
        if not _CAPABILITY.fullmatch(capability):
            raise UserError(f"{where}: {capability[:40]!r} is not a name of a capability such as CAP_NET_ADMIN")
    return names


def _resources(app: App, where: str) -> Settings:
    settings: Settings = []
    memory = resource_limit(app, "resource/memory")
    if memory is not None:
        settings.append(("MemoryMax", str(_positive(memory // 1000, f"{where}: isolator resource/memory"))))
    cpu = resource_limit(app, "resource/cpu")
    if cpu is not None:
        # Per cent of one CPU, of which systemd takes two decimals.
        cpu = min(_positive(cpu, f"{where}: isolator resource/cpu"), _CPUS * 1000)
        settings.append(("CPUQuota", f"{cpu / 10:.1f}%"))
    shares = _number(app.isolators, _CPU_SHARES, range(2, 1 << 18 | 1), where)
    if shares is not None:
        lowest, highest = _WEIGHTS
        settings.append(("CPUWeight", str(min(max(shares * _WEIGHT // _SHARES, lowest), highest))))
    score = _number(app.isolators, _OOM_SCORE_ADJ, range(-1000, 1001), where)
    if score is not None:
        settings.append(("OOMScoreAdjust", str(score)))
    return settings


def _positive(value: int, where: str) -> int:
    if value <= 0:
        raise UserError(f"{where}: the limit leaves nothing to run with")
    return value


def _flag(isolators: Mapping[str, Any], name: str, where: str) -> bool:
    value = isolators.get(name)
    if value is not None and not isinstance(value, bool):
        raise UserError(f"{where}: isolator {name}: true or false is expected")
    return bool(value)


def _number(isolators: Mapping[str, Any], name: str, allowed: range, where: str) -> int | None:
    value = isolators.get(name)
    if value is None:
        return None
    if type(value) is not int or value not in allowed:
        bounds = f"{allowed.start} to {allowed.stop - 1}"
        raise UserError(f"{where}: isolator {name}: {shown(value)} is not a number of {bounds}")
    return value
