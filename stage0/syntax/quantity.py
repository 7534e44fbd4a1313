"""Amounts of a resource, such as 500m or 1.5Gi, in their canonical form (appc spec 0.8.11, Resource Isolators)."""

from __future__ import annotations

import re
from decimal import ROUND_UP, Context, Decimal

from common.errors import UserError

_QUANTITY = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?[0-9]{1,4}|)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_SMALLEST = Decimal("1e-9")
_LARGEST_BINARY = Decimal(2**63 - 1)
_DECIMAL_DIGITS, _BINARY_DIGITS = 18, 15
"""How many digits rkt looks at quickly."""
_CONTEXT = Context(prec=20000)


def parse_quantity(text: str) -> tuple[Decimal, str]:
    """The amount that the text names, and the form in which rkt writes it: the largest suffix without a fraction.

    `parse_quantity("1.5Gi")` is `(Decimal(1610612736), "1536Mi")`. Raises `UserError` for text that is no amount.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise UserError(f"{text!r} is not an amount", hint="a number and a suffix, such as 500m, 128M or 1.5Gi")
    sign, whole, fraction, suffix = match.groups(default="")
    amount = _CONTEXT.create_decimal(f"{whole or '0'}.{fraction or '0'}")
    if suffix in _BINARY:
        amount = _CONTEXT.multiply(amount, Decimal(2 ** _BINARY[suffix]))
    else:
        exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
        amount = _CONTEXT.scaleb(amount, exponent)
    amount = amount.quantize(_SMALLEST, rounding=ROUND_UP, context=_CONTEXT)
    if suffix in _BINARY:
        amount = min(amount, _LARGEST_BINARY)
    if sign == "-":
        amount = -amount
    digits = whole.lstrip("0") or "0"
    return amount, text if _is_kept(digits, fraction, suffix) else _canonical(amount, suffix)


def _is_kept(whole: str, fraction: str, suffix: str) -> bool:
    """Whether rkt takes the text for canonical at the first look, and so keeps it as it is."""
    digits = whole + fraction
    if suffix in _BINARY:
        exponent = _BINARY[suffix]
        precise = len(whole) + exponent * 3 // 10 < _BINARY_DIGITS
        return precise and not fraction and int(whole) % 8 != 0
    scale = (_DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])) - len(fraction)
    precise = len(digits) <= _DECIMAL_DIGITS and scale >= -9
    return precise and scale % 3 == 0 and not digits.endswith("000") and not digits.startswith("0")


def _canonical(amount: Decimal, suffix: str) -> str:
    if not amount:
        return "0"
    if suffix in _BINARY and abs(amount) >= 1024 and amount == amount.to_integral_value(context=_CONTEXT):
        mantissa, names = int(amount), ["", *_BINARY]
        step = 0
        while mantissa % 1024 == 0 and step + 1 < len(names):
            mantissa //= 1024
            step += 1
        return f"{mantissa}{names[step]}"
    return _canonical_decimal(amount, exponential=suffix[:1] in ("e", "E") and suffix not in _DECIMAL)


def _canonical_decimal(amount: Decimal, *, exponential: bool) -> str:
    names = {exponent: name for name, exponent in _DECIMAL.items()}
    mantissa, exponent = int(_CONTEXT.scaleb(amount, 9)), -9
    while mantissa % 1000 == 0 and (exponential or exponent + 3 in names):
        mantissa //= 1000
        exponent += 3
    if exponential:
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    return f"{mantissa}{names[exponent]}"
