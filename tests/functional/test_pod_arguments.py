"""Arguments of the run entry point, as rkt gives them."""

from __future__ import annotations

from tests.functional.support.console import app_lines
from tests.functional.support.images import CONTAINER, Image
from tests.functional.support.pods import App, PodMaker
from tests.functional.support.selection import checked_with_kvm
from tests.functional.support.variants import kvm_works

ARGUMENTS = (
    "--debug",
    "--net=none",
    "--mds-token=0123456789abcdef",
    "--local-config=/etc/rkt",
    "--hostname=pod.example.com",
    "--dns-conf-mode=resolv=none,hosts=stage0",
    "--disable-capabilities-restriction",
    "--disable-paths",
    "--disable-seccomp",
    "--ipc=private",
)
"""What rkt 1.30 may give to an image of interface version 6 with this flavor, in its order."""


@checked_with_kvm
def test_every_argument_and_the_default_accelerator(image: Image, pod_of: PodMaker) -> None:
    app = App("one", ("/bin/probe", "say", "hello", "cat", "/proc/sys/kernel/hostname", "cat", "/etc/resolv.conf"))
    with pod_of(image, [app]) as pod:
        pod.app_file("one", "etc/resolv.conf").write_text("of the image\n")
        outcome = pod.run(*ARGUMENTS, env={"RKT_HYPERVISOR_ACCEL": "auto"})
        lines = outcome.lines()
        assert outcome.status == 0, outcome
        assert app_lines(lines, "one") == ["hello", "line [pod.example.com]", "line [of the image]"]
        container = image.hypervisor == CONTAINER
        assert container or any("as init process" in line for line in lines), "--debug shows the kernel's messages"
        assert any("running in system mode" in line for line in lines), "--debug shows systemd's messages"
        emulated = [line for line in outcome.stderr.splitlines() if "emulat" in line.lower()]
        assert len(emulated) == (0 if kvm_works() or container else 1), outcome.stderr
