from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from stage0.syntax.quantity import parse_quantity

SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


@pytest.mark.parametrize(
    ("text", "amount", "canonical"),
    [
        ("128M", 128_000_000, "128M"),
        ("0.5Gi", 2**29, "512Mi"),
        ("1.5Gi", 3 * 2**29, "1536Mi"),
        ("1024Ki", 2**20, "1Mi"),
        ("1000m", 1, "1"),
        ("1500m", Decimal("1.5"), "1500m"),
        ("0.001", Decimal("0.001"), "1m"),
        ("2000", 2000, "2k"),
        ("512Ki", 2**19, "512Ki"),
        ("1e3", 1000, "1e3"),
        ("1E6", 10**6, "1E6"),
        ("100e-2", 1, "1"),
        ("0", 0, "0"),
        ("1.001", Decimal("1.001"), "1.001"),
        ("+07k", 7000, "+07k"),
        ("00", 0, "0"),
        ("-3k", -3000, "-3k"),
        (".5", Decimal("0.5"), "500m"),
        ("4096", 4096, "4096"),
        ("0.1n", Decimal("1e-9"), "1n"),
    ],
)
def test_an_amount_has_the_canonical_form_of_the_original(text: str, amount: Decimal | int, canonical: str) -> None:
    assert parse_quantity(text) == (amount, canonical)


@given(st.integers(1, 10**6), st.sampled_from([*SUFFIXES, *BINARY]))
def test_the_canonical_form_means_the_same_and_stays(number: int, suffix: str) -> None:
    amount, canonical = parse_quantity(f"{number}{suffix}")
    factor = Decimal(2 ** BINARY[suffix]) if suffix in BINARY else Decimal(10) ** SUFFIXES[suffix]
    assert amount == min(number * factor, Decimal(2**63 - 1) if suffix in BINARY else number * factor)
    assert parse_quantity(canonical) == (amount, canonical)


@pytest.mark.parametrize("text", ["", "M", ".", "1Q", "1 M", "1e", "--1", "1.2.3", "0x10", "\uff11"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not an amount"):
        parse_quantity(text)
