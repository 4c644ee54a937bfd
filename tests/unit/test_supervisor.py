"""What keeps the engine's loops running."""

from __future__ import annotations

import asyncio

import pytest

from taskengine.engine.supervisor import supervise
from tests.support.clock import MovedClock


async def test_a_loop_that_a_library_cancels_goes_on() -> None:
    """Nobody asked for it: the loop would be gone, and the engine deaf without a word."""
    came: list[int] = []

    async def loop() -> None:
        came.append(1)
        if len(came) == 1:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()  # as a connection that is closed does with what waits for an answer
            await future

    clock = MovedClock()
    task = asyncio.create_task(supervise("loop", loop, clock))
    await clock.advance(1)
    await task
    assert len(came) == 2


async def test_a_loop_ends_where_that_was_asked_for() -> None:
    """At the end of the engine."""

    async def loop() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(supervise("loop", loop, MovedClock()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
