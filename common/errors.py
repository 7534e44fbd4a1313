"""The errors that a person can act on. Everything else is a defect and keeps its traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that the person who runs the command can mend.

    `str(error)` is one line: what is wrong and where. `hint` says what to do about it. Commands print both
    and end with exit status 1.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def render(self, program: str) -> str:
        """The text for standard error: `program: error: message` and, where there is one, a line for the hint."""
        text = f"{program}: error: {self}"
        return f"{text}\n{program}: hint: {self.hint}" if self.hint else text
