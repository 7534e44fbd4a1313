"""The guest kernel's command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stage1.host.errors import UserError

EXTRA_VARIABLE = "RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS"
ROOT_TAG = "rootfs"
"""Mount tag of the 9p share that is the guest's root."""
POD_TAG = "pod"
"""Mount tag of the same directory for what the pod writes; stage1/guest/start.c mounts it."""
SHARES = (ROOT_TAG, POD_TAG)

_LENGTH = 2047
"""COMMAND_LINE_SIZE of x86 without the closing NUL."""

# The root is cached without any check: nothing may change it while the pod runs, and read-only keeps the guest from it.
# A tag without /dev/ needs no block layer and no word of the kernel about a device that does not exist.
_ROOT = (
    f"root={ROOT_TAG}",
    "rootfstype=9p",
    "rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=262144",
    "ro",
    "init=/usr/lib/stage1/start",
)
# A guest's clocks and interrupts need no checks of real hardware's faults; a panic ends the VM.
_COMMON = (
    "console=hvc0",
    "no_timer_check",
    "noreplace-smp",
    "tsc=reliable",
    "panic=-1",
    # systemd waits for RCU with every cgroup and mount namespace that it makes.
    "rcupdate.rcu_expedited=1",
    "printk.time=1",
    "systemd.crash_reboot=yes",
    # Into the environment of systemd: it then looks for units in one folder instead of thirteen. Each look is a round
    # trip of 9p.
    "SYSTEMD_UNIT_PATH=/usr/lib/systemd/system",
)
# Into the environment of stage1/guest/start.c.
_UNPROTECTED = "RKT_DISABLE_PATHS=1"
# Only what ends the machine is said: the panic of a kernel, the crash of systemd.
_QUIET = (
    "quiet",
    "loglevel=1",
    "systemd.show_status=false",
    "systemd.log_target=console",
    "systemd.log_level=emerg",
)
_DEBUG = ("debug", "systemd.log_level=debug", "systemd.log_target=console", "systemd.show_status=true")


def kernel_command_line(
    hypervisor: Sequence[str],
    *,
    flavor: Sequence[str] = (),
    debug: bool,
    protect: bool,
    environment: Mapping[str, str],
) -> str:
    """The parameters of `hypervisor`, those of every VM, of the flavor, and of $RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS.

    Without `protect`, the guest neither hides anything of /proc and /sys nor makes it read-only.

    Raises `UserError` where those have characters other than printable ASCII, or where the line gets too long for the
    kernel, which would cut it without a word.
    """
    extra = environment.get(EXTRA_VARIABLE, "")
    if not extra.isascii() or not (extra.isprintable() or not extra):
        raise UserError(f"{EXTRA_VARIABLE}: only printable ASCII characters are possible")
    unprotected = () if protect else (_UNPROTECTED,)
    messages = _DEBUG if debug else _QUIET
    line = " ".join([*hypervisor, *_ROOT, *_COMMON, *unprotected, *messages, *flavor, *extra.split()])
    if len(line) > _LENGTH:
        raise UserError(f"{EXTRA_VARIABLE}: {len(line) - _LENGTH} characters too long for the kernel's command line")
    return line
