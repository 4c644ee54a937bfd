"""The clocks: the system's, and the one that tests move."""

from __future__ import annotations

import asyncio
import time

from taskengine.clock import SystemClock
from tests.support.clock import START, MovedClock


async def test_the_system_clock_gives_milliseconds_and_never_sleeps_less_than_nothing() -> None:
    """`now` is the wall clock in milliseconds; a negative sleep returns at once."""
    before = int(time.time() * 1000)
    clock = SystemClock()
    await clock.sleep(-1)
    assert before <= clock.now() <= int(time.time() * 1000) + 1


async def test_a_moved_clock_wakes_sleepers_in_order_at_their_own_times() -> None:
    """Each sleeper sees the time it asked for, and one that sleeps again is woken within the same move."""
    clock = MovedClock()
    seen: list[tuple[str, int]] = []

    async def sleeper(name: str, seconds: float, times: int) -> None:
        for _ in range(times):
            await clock.sleep(seconds)
            seen.append((name, clock.now() - START))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("slow", 5, 1))
        group.create_task(sleeper("quick", 2, 3))
        await clock.advance(5.5)
        assert seen == [("quick", 2000), ("quick", 4000), ("slow", 5000)]
        assert clock.now() == START + 5500
        await clock.advance_to_next()
    assert seen[-1] == ("quick", 6000)


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    """A sleep that was given up neither holds the clock nor counts."""
    clock = MovedClock()
    try:
        async with asyncio.timeout(0.001):
            await clock.sleep(60)
    except TimeoutError:
        pass
    assert clock.sleepers() == 0
    assert clock.next_due() is None
