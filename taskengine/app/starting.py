"""Starting beside services that are not there yet: what a process needs is waited for, and said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TypeVar

import structlog

from taskengine.domain.errors import BrokerUnavailable, SchemaMismatch, StoreUnavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


async def enter(
    stack: AsyncExitStack, what: str, open_it: Callable[[], AbstractAsyncContextManager[T]], wait_s: float
) -> T:
    """Open `what` on the stack, again and again for `wait_s` seconds while it is away.

    Raises StoreUnavailable or BrokerUnavailable with the last reason then; at once where waiting does not help (the
    schema does not fit this version, the URL is wrong).
    """
    loop = asyncio.get_running_loop()
    until, pause, told = loop.time() + wait_s, _FIRST_PAUSE_S, ""
    while True:
        try:
            return await stack.enter_async_context(open_it())
        except SchemaMismatch:
            raise
        except (StoreUnavailable, BrokerUnavailable) as error:
            left = until - loop.time()
            if left <= 0:
                raise type(error)(f"{error} (waited {wait_s:g} s for the {what} to be there)") from error
            if str(error) != told:
                told = str(error)
                log.warning("start_waits", waits_for=what, error=told, left_s=round(left))
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE_S)
