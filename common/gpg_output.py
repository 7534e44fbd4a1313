"""python-gnupg for keys and signatures that anybody may have made: what gpg prints of them is any bytes.

The library itself decodes strictly, and by rules of lines that are not gpg's.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import gnupg

from common.text import clean

_STATUS = "[GNUPG:] "


class TolerantGPG(gnupg.GPG):  # type: ignore[misc]
    """What is not UTF-8 is shown by escapes in hexadecimal; names of people are fit for a terminal."""

    encoding: str
    decode_errors = "backslashreplace"

    def _read_response(self, stream: Any, result: Any) -> None:
        """Read what gpg tells, on its standard error. A line ends with a newline and nothing else."""
        stream.errors = self.decode_errors
        text = stream.read()
        for line in text.split("\n"):
            if line.startswith(_STATUS):
                keyword, _, value = line.removeprefix(_STATUS).partition(" ")
                with suppress(ValueError, LookupError):  # of a key without a name, for one
                    result.handle_status(keyword, value)
        result.stderr = text

    def _decode_result(self, result: Any) -> Any:
        """Read a list of keys as ASCII with escapes, which the library takes for those that gpg makes."""
        usual: str = self.encoding
        self.encoding = "ascii"
        try:
            super()._decode_result(result)
        finally:
            self.encoding = usual
        for key in result:
            key["uids"] = [_readable(name) for name in key["uids"]]
        return result


def _readable(name: str) -> str:
    """A user ID whose characters are the bytes that it has."""
    return clean(name.encode("latin-1").decode("utf-8", "backslashreplace"))
