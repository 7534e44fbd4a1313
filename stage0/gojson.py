"""JSON as Go writes it, so that files and output are those of rkt to the byte."""

from __future__ import annotations

import json

_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def encode(value: object) -> str:
    """JSON without spaces, as `json.Marshal` writes it: keys in the order of `value`, and HTML's characters escaped."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).translate(_ESCAPES)


def encode_pretty(value: object) -> str:
    """The same, indented by tabs, as `json.MarshalIndent(value, "", "\\t")` writes it."""
    return json.dumps(value, indent="\t", ensure_ascii=False).translate(_ESCAPES)
