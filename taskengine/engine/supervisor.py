"""Keeps the engine's loops running: a fault of a part is logged and the loop goes on, with growing pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from taskengine.domain.errors import BrokerUnavailable, StoreUnavailable
from taskengine.ports import Clock

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_HEALTHY_MS = 60_000  # a loop that ran that long starts again with the first pause


async def supervise(name: str, loop: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Run `loop` until it returns; when it raises, say so, pause, and run it again."""
    pause = _FIRST_PAUSE_S
    while True:
        began = clock.now()
        try:
            await loop()
        except asyncio.CancelledError:
            if _was_asked_to_end():
                raise
            # A library below ends what waits for its connection like this: the loop would be gone, and nobody would know.
            log.warning("loop_waits", loop=name, error="it was cancelled by nobody", pause_s=pause)
        except (StoreUnavailable, BrokerUnavailable) as error:
            log.warning("loop_waits", loop=name, error=str(error), pause_s=pause)
        except Exception:
            log.exception("loop_failed", loop=name, pause_s=pause)
        else:
            return
        if _was_asked_to_end():  # a library below has made another error of the cancellation
            raise asyncio.CancelledError
        if clock.now() - began > _HEALTHY_MS:
            pause = _FIRST_PAUSE_S
        await clock.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _was_asked_to_end() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
