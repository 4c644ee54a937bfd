"""The slots of a worker: how many tasks of a queue it runs at one time, and how many deliveries it may hold for them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from taskengine.domain.errors import BrokerUnavailable
from taskengine.ports import Consumer


@dataclass(eq=False)
class Slot:
    """A taken slot; `detached`: its delivery does not count in the present consumer's hands (it was acknowledged early,
    or came by a consumer that is gone)."""

    detached: bool = False


class Pool:
    """The slots of one queue. The consumer is let hold as many deliveries as slots are left beside the detached ones, so
    that nothing waits behind a long task."""

    def __init__(self, queue: str, slots: int) -> None:
        self.queue = queue
        self.slots = slots
        self._consumer: Consumer | None = None
        self._taken: set[Slot] = set()
        self._freed = asyncio.Event()
        self.closed = asyncio.Event()  # nothing more is taken

    async def idle(self) -> None:
        """Wait until no slot is taken."""
        while self._taken:
            self._freed.clear()
            await self._freed.wait()

    async def free(self) -> int:
        """Wait until a slot is free; how many are."""
        while self.left <= 0:
            self._freed.clear()
            await self._freed.wait()
        return self.left

    @property
    def left(self) -> int:
        """Slots for a new consumer: what earlier ones brought still runs."""
        return self.slots - len(self._taken)

    async def opened(self, consumer: Consumer) -> None:
        """A new consumer: what runs came by earlier ones."""
        self._consumer = consumer
        for slot in self._taken:
            slot.detached = True
        await self._adjust()  # a slot may have become free while it was opened

    def take(self) -> Slot:
        """Take a free slot."""
        slot = Slot()
        self._taken.add(slot)
        return slot

    async def detach(self, slot: Slot) -> None:
        """Before an early acknowledgement: have the consumer hold one delivery less."""
        if not slot.detached:
            slot.detached = True
            await self._adjust()

    async def give_back(self, slot: Slot) -> None:
        """The slot is free again, and the consumer may hold one more."""
        self.freed(slot)
        if slot.detached:
            await self._adjust()

    def freed(self, slot: Slot) -> None:
        """The slot is free again."""
        self._taken.discard(slot)
        self._freed.set()

    async def _adjust(self) -> None:
        if self._consumer is None:
            return
        with contextlib.suppress(BrokerUnavailable):  # the next consumer is opened with what is free then
            await self._consumer.set_prefetch(self.slots - sum(slot.detached for slot in self._taken))
