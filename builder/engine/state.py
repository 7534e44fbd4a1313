"""What a build directory remembers from one run to the next, besides its cache of digests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from common.files import write_atomically

_FORMAT = 1


@dataclass
class State:
    """Which entries were used last, and what was put into `bin/`."""

    path: Path
    steps: dict[str, str] = field(default_factory=dict)
    """Step -> fingerprint of the entry that it came to last."""
    products: dict[str, list[int | str]] = field(default_factory=dict)
    """Name in `bin/` -> where it came from, and the status of the file that was written."""
    _saved: str = ""

    @classmethod
    def load(cls, path: Path) -> State:
        """Read the state; a file that is missing or of another format is an empty one."""
        try:
            text = path.read_text()
            data = json.loads(text)
            if data["format"] != _FORMAT:
                return cls(path)
            return cls(path, data["steps"], data["products"], text)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return cls(path)

    def save(self) -> None:
        """Write the state, if it changed."""
        text = json.dumps({"format": _FORMAT, "steps": self.steps, "products": self.products}) + "\n"
        if text != self._saved:
            write_atomically(self.path, text)
            self._saved = text
