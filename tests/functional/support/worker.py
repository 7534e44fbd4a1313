"""The pytest plugin in the outer guest: runs the tests that the other side names and sends their reports."""

from __future__ import annotations

import json
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol


def pytest_runtestloop(session: pytest.Session) -> bool:
    """In place of pytest's loop over all items: one test for each line from the channel, until it closes."""
    (device,) = Path("/dev").glob("vport*p1")
    items = {item.nodeid: item for item in session.items}
    with FileIO(device, "r+") as channel:
        _send(channel, [])
        buffered = b""
        while True:
            while b"\n" not in buffered:
                buffered += channel.read(65536)
            line, buffered = buffered.split(b"\n", 1)
            question = json.loads(line)
            item = items[question["run"]]
            reports = runtestprotocol(item, log=False, nextitem=items.get(question["next"]))
            hook = item.config.hook.pytest_report_to_serializable
            _send(channel, [hook(config=item.config, report=report) for report in reports])


def _send(channel: FileIO, answer: list[Any]) -> None:
    data = json.dumps(answer).encode() + b"\n"
    while data:
        data = data[channel.write(data) or 0 :]
