"""Signals that ask a process to end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from taskengine.system import STOPPING, caught


@pytest.fixture
def ignored() -> Iterator[None]:
    """What a shell does of a process in the background, and `nohup`."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("ignored")
async def test_a_process_in_the_background_ends_at_sigint_and_outlives_its_terminal() -> None:
    """A hang-up that is ignored on purpose stays so."""
    heard: list[int] = []
    with caught(STOPPING, heard.append):
        for number in (signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)
        await asyncio.sleep(0.05)
    assert heard == [signal.SIGINT]
