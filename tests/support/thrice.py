"""`taskengine` whose every message is published three times, each copy at a time of its own: `python -m … serve`."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from itertools import count
from typing import Any

from taskengine.brokers.rabbitmq import RabbitBroker
from taskengine.cli import main
from taskengine.ports import Outgoing

_LATE_S = 0.5
_numbers = count()
_dice = random.Random(3)
_copies: set[asyncio.Task[None]] = set()
_publish = RabbitBroker.publish


async def _later(broker: Any, messages: Sequence[Outgoing]) -> None:
    await asyncio.sleep(_dice.uniform(0, _LATE_S))
    await _publish(broker, _dice.sample(list(messages), len(messages)))


async def publish(self: Any, messages: Sequence[Outgoing]) -> None:
    """Return when the first of three copies is confirmed; what another caller publishes meanwhile may overtake it."""
    copies = {asyncio.create_task(_later(self, messages)) for _ in range(3)}
    _copies.update(copies)
    for copy in copies:
        copy.add_done_callback(_forget)
    done, _ = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    for copy in done:
        copy.result()


def _forget(copy: asyncio.Task[None]) -> None:
    _copies.discard(copy)
    if not copy.cancelled():
        copy.exception()  # of a copy that comes after the end of its connection, nobody asks


if __name__ == "__main__":
    RabbitBroker.publish = publish  # type: ignore[method-assign]
    sys.exit(main())
