"""System calls that an app may use, from its seccomp isolator (appc spec 0.8.11, Linux Isolators)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stage1.host.errors import UserError
from stage1.pod.manifest import json_object, text, texts

RETAIN = "os/linux/seccomp-retain-set"
REMOVE = "os/linux/seccomp-remove-set"

_CALL = re.compile(r"[a-z_][a-z0-9_]*")
_ERROR = re.compile(r"E[A-Z0-9]+")
_ERROR_LENGTH = 20

# What Docker's documentation names as blocked ("Seccomp security profiles for Docker"), without those that it blocks
# by their arguments, and the calls that have been added to the kernel for the same purposes since.
_DANGEROUS_BY_SUBJECT = {
    "accounting and tracing": ("acct", "bpf", "lookup_dcookie", "perf_event_open", "quotactl", "quotactl_fd"),
    "keys": ("add_key", "keyctl", "request_key"),
    "clocks": ("adjtimex", "clock_adjtime", "clock_settime", "settimeofday", "stime"),
    "kernel modules": (
        "create_module",
        "delete_module",
        "finit_module",
        "get_kernel_syms",
        "init_module",
        "query_module",
    ),
    "mounts": (
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "pivot_root",
        "umount",
        "umount2",
    ),
    "memory policy": (
        "get_mempolicy",
        "mbind",
        "migrate_pages",
        "move_pages",
        "set_mempolicy",
        "set_mempolicy_home_node",
    ),
    "ports and modes of the processor": ("ioperm", "iopl", "vm86", "vm86old"),
    "other processes": ("kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"),
    "another kernel": ("kexec_file_load", "kexec_load", "reboot"),
    "files without their names": ("name_to_handle_at", "open_by_handle_at"),
    "obsolete": ("_sysctl", "nfsservctl", "sysfs", "uselib", "ustat"),
    "faults in user space": ("userfaultfd",),
    "namespaces": ("setns", "unshare"),
    "swap": ("swapoff", "swapon"),
}
_DANGEROUS = frozenset(call for calls in _DANGEROUS_BY_SUBJECT.values() for call in calls)
_DEFAULT_LISTS = ("@docker/default-{}", "@rkt/default-{}")
_BLOCKED = frozenset(name.format("blacklist") for name in _DEFAULT_LISTS)
_ALLOWED = frozenset(name.format("whitelist") for name in _DEFAULT_LISTS)
_ALL, _EMPTY = "@appc.io/all", "@appc.io/empty"
_SYSTEMD = {
    "@systemd/default-whitelist": "@default",
    **{
        f"@systemd/{name}": f"@{name}"
        for name in ("clock", "io-event", "mount", "network-io", "obsolete", "privileged", "process", "raw-io")
    },
}


def seccomp_settings(isolators: Mapping[str, Any], where: str) -> list[tuple[str, str]]:
    """The settings of systemd that filter an app's system calls; none where all are allowed.

    An app without an isolator, or with the set `@appc.io/empty` to remove, gets the default: what is not dangerous.
    The list that is called default-whitelist is everything but the default-blacklist, so that calls which are newer
    than the list work. A call that is not allowed ends the app by SIGSYS, unless the isolator names an error. Raises
    `UserError` for a bad isolator.
    """
    if RETAIN in isolators and REMOVE in isolators:
        raise UserError(f"{where}: {RETAIN} and {REMOVE} exclude each other")
    name = RETAIN if RETAIN in isolators else REMOVE
    if name not in isolators:
        return _filter(_DANGEROUS, allow=False)
    where = f"{where}: isolator {name}"
    isolator = json_object(isolators[name], where)
    items = frozenset(texts(isolator, "set", where))
    for item in items - _BLOCKED - _ALLOWED - {_ALL, _EMPTY} - _SYSTEMD.keys():
        if not _CALL.fullmatch(item):
            raise UserError(f"{where}: {item[:40]!r} is neither a system call nor a known set of them")
    settings = _retained(items, where) if name == RETAIN else _removed(items, where)
    return settings + (_error_number(text(isolator, "errno", where), where) if settings else [])


def _retained(items: frozenset[str], where: str) -> list[tuple[str, str]]:
    if _ALL in items:
        return []
    calls = _calls(items - _BLOCKED - _ALLOWED) | (_DANGEROUS if items & _BLOCKED else frozenset())
    if not items & _ALLOWED:
        # Without a call systemd would take the line for the removal of the filter.
        return _filter(calls or {"@default"}, allow=True)
    if any(call.startswith("@") for call in calls):
        raise UserError(f"{where}: sets of systemd cannot be combined with default-whitelist")
    return _filter(_DANGEROUS - calls, allow=False)


def _removed(items: frozenset[str], where: str) -> list[tuple[str, str]]:
    if _EMPTY in items:
        return _filter(_DANGEROUS, allow=False)
    if _ALL in items or items & _ALLOWED:
        raise UserError(f"{where}: an app cannot start without any system call")
    calls = _calls(items - _BLOCKED) | (_DANGEROUS if items & _BLOCKED else frozenset())
    return _filter(calls, allow=False) if calls else []


def _calls(items: frozenset[str]) -> frozenset[str]:
    return frozenset(_SYSTEMD.get(item, item) for item in items - {_ALL, _EMPTY})


def _filter(calls: frozenset[str] | set[str], *, allow: bool) -> list[tuple[str, str]]:
    words = " ".join(sorted(calls))
    return [("SystemCallFilter", words if allow else f"~{words}")]


def _error_number(name: str, where: str) -> list[tuple[str, str]]:
    if not name:
        return []
    if len(name) > _ERROR_LENGTH or not _ERROR.fullmatch(name):
        raise UserError(f"{where}: errno {name[:_ERROR_LENGTH]!r} is not a name such as EPERM")
    return [("SystemCallErrorNumber", name)]
