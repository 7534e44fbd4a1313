"""Which tests a session runs: `make check` proves each feature once, `make check-all` on every variant.

$MKSTAGE1_TESTS says it: "check" or nothing, "rest" for what `make check` leaves out, "all" for both.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum

import pytest

from tests.functional.support import variants
from tests.functional.support.variants import Host, Variant, variant_of

WITHOUT_KVM = (str(variants.QEMU_TCG), str(variants.CONTAINER))
checked_with_kvm = pytest.mark.checked_on(*WITHOUT_KVM, *map(str, variants.WITH_KVM))
"""Of what `make check` tests with each hypervisor, with KVM and without."""

VARIABLE = "MKSTAGE1_TESTS"


class Selection(StrEnum):
    """What is run."""

    CHECK = "check"
    REST = "rest"
    ALL = "all"


def chosen() -> Selection:
    """What this session runs. Raises `pytest.UsageError` for a word that says nothing."""
    word = os.environ.get(VARIABLE) or Selection.CHECK
    try:
        return Selection(word)
    except ValueError:
        raise pytest.UsageError(f"{VARIABLE}={word}: expected one of {', '.join(Selection)}") from None


def is_checked(item: pytest.Item) -> bool:
    """Whether `make check` runs a test.

    It leaves out those marked `everything`. Those of each variant run with the variants of the mark `checked_on`, or
    with the two that need no KVM; where KVM works here, what is checked under emulation is checked with KVM too.
    """
    if item.get_closest_marker("everything"):
        return False
    name = _variant_name(item)
    mark = item.get_closest_marker("checked_on")
    names = mark.args if mark is not None else WITHOUT_KVM
    if variant_of(item) is not None and not set(names) <= set(map(str, variants.EVERY)):
        raise pytest.UsageError(f"{item.nodeid}: {', '.join(names)}: not all of these are variants")
    if name is None or name in names:
        return True
    return str(variants.QEMU_TCG) in names and variant_of(item) in variants.WITH_KVM and variants.kvm_works()


def outer_host(variant: Variant | None) -> Host | None:
    """What the outer guest is in which tests of a variant run; None where they run on this machine.

    `make check` boots one, whose init is systemd, for what needs KVM as well.
    """
    if variant is None:
        return None
    needs_kvm = variant.accel == "kvm" and not variants.kvm_works()
    with_kvm = Host.SYSTEMD if chosen() is Selection.CHECK else Host.PLAIN
    return variant.host or (with_kvm if needs_kvm else None)


def unwanted() -> Callable[[pytest.Item], bool]:
    """Tells which tests are left out of this session."""
    tests = chosen()
    return {
        Selection.CHECK: lambda item: not is_checked(item),
        Selection.REST: is_checked,
        Selection.ALL: lambda item: False,
    }[tests]


def _variant_name(item: pytest.Item) -> str | None:
    """The value of the parameter that tests are repeated by: `variant`, or the name of an `image`."""
    callspec = getattr(item, "callspec", None)
    parameters = callspec.params if callspec is not None else {}
    found = parameters.get("variant", parameters.get("image"))
    return None if found is None else str(found)
