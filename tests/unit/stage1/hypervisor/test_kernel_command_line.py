import pytest

from stage1.host.errors import UserError
from stage1.hypervisor.kernel_command_line import EXTRA_VARIABLE, kernel_command_line


def test_the_order_is_hypervisor_common_extra() -> None:
    words = kernel_command_line(
        ["reboot=t"], debug=False, protect=True, environment={EXTRA_VARIABLE: "  a=1   b "}
    ).split(" ")
    assert words[0] == "reboot=t"
    assert words[-2:] == ["a=1", "b"]
    assert {"root=rootfs", "rootfstype=9p", "ro", "console=hvc0", "quiet", "systemd.show_status=false"} <= set(words)
    assert any(word.startswith("rootflags=trans=virtio,version=9p2000.L,cache=loose") for word in words)


def test_debug_is_not_quiet() -> None:
    words = kernel_command_line([], debug=True, protect=True, environment={}).split(" ")
    assert {"debug", "systemd.log_level=debug", "systemd.show_status=true"} <= set(words)
    assert "quiet" not in words


@pytest.mark.parametrize("extra", ["a\nb", "ü", "a\x1b", "a\tb"])
def test_only_printable_ascii(extra: str) -> None:
    with pytest.raises(UserError, match=EXTRA_VARIABLE):
        kernel_command_line([], debug=False, protect=True, environment={EXTRA_VARIABLE: extra})


def test_the_kernel_cuts_nothing() -> None:
    length = len(kernel_command_line([], debug=False, protect=True, environment={}))
    room = 2047 - length - 1
    assert len(kernel_command_line([], debug=False, protect=True, environment={EXTRA_VARIABLE: "x" * room})) == 2047
    with pytest.raises(UserError, match="1 characters too long"):
        kernel_command_line([], debug=False, protect=True, environment={EXTRA_VARIABLE: "x" * (room + 1)})


def test_a_guest_that_hides_nothing() -> None:
    protected, free = (
        kernel_command_line([], debug=False, protect=protect, environment={}).split() for protect in (True, False)
    )
    assert set(free) - set(protected) == {"RKT_DISABLE_PATHS=1"}


def test_the_flavors_words_come_before_those_of_the_environment() -> None:
    line = kernel_command_line(
        ["a=1"], flavor=["loglevel=5"], debug=False, protect=True, environment={EXTRA_VARIABLE: "loglevel=7"}
    )
    assert line.startswith("a=1 ")
    assert line.endswith(" loglevel=5 loglevel=7")
