"""What happened when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.inspection.page.timelines import Span, boot_spans, build_spans
from common import process
from common.errors import UserError


def step(seconds: float, *needs: str, cached: bool = False) -> dict[str, Any]:
    return {"seconds": seconds, "cpu_seconds": seconds, "needs": list(needs), "cached": cached, "summary": "make"}


def test_steps_start_when_what_they_need_is_there() -> None:
    record = {"steps": {"c": step(1, "a", "b"), "a": step(2), "b": step(5, cached=True)}}
    assert [(span.name, span.start, span.seconds) for span in build_spans(record)] == [
        ("a", 0, 2),
        ("b", 0, 5),
        ("c", 5, 1),
    ]
    assert [span.note for span in build_spans(record)] == ["make, 2.0 CPU s", "make, from a cache", "make, 1.0 CPU s"]


JOURNAL = """\
{"__MONOTONIC_TIMESTAMP":"910000","_SOURCE_MONOTONIC_TIMESTAMP":"500000","_TRANSPORT":"syslog","MESSAGE":"systemd"}
{"__MONOTONIC_TIMESTAMP":"1000000","MESSAGE_ID":"7d4958e842da4a758f6c1cdc7b36dcc5","UNIT":"web.service"}
{"__MONOTONIC_TIMESTAMP":"1500000","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf","UNIT":"web.service"}
{"__MONOTONIC_TIMESTAMP":"1700000","_TRANSPORT":"stdout","SYSLOG_IDENTIFIER":"web","MESSAGE":"up"}
{"__MONOTONIC_TIMESTAMP":"1800000","_TRANSPORT":"stdout","SYSLOG_IDENTIFIER":"web","MESSAGE":"more"}
"""


FINISHED = (
    '{"__MONOTONIC_TIMESTAMP":"1900000","MESSAGE_ID":"b07a249cd024414a82dd00cd181378ff",'
    '"KERNEL_USEC":"400000","USERSPACE_USEC":"1500000"}\n'
)


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        (JOURNAL, [Span("kernel", 0.0, 0.5)]),
        (JOURNAL + FINISHED, [Span("kernel", 0.0, 0.4), Span("systemd", 0.4, 1.5)]),
    ],
)
def test_the_start_of_a_pod(monkeypatch: pytest.MonkeyPatch, text: str, phases: list[Span]) -> None:
    monkeypatch.setattr(process, "run", lambda argv: text)
    assert [Span(span.name, span.start, span.seconds) for span in boot_spans(Path("/x"))] == [
        *phases,
        Span("web.service", 1.0, 0.5),
        Span("first line of web", 1.7, 0.0),
    ]


def test_what_is_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", lambda argv: "")
    with pytest.raises(UserError, match="/x has no entries"):
        boot_spans(Path("/x"))
