"""The channels that players asked for lately, in memory.

A channel's definition is read again when it is older than a few seconds; the rest is its function of the clock. An answer
costs the same whatever the channel's length, and is the same from every engine.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from taskengine.domain.errors import StorageError, StoreUnavailable
from taskengine.media.virtual import channel as channels
from taskengine.media.virtual.live import Schedule
from taskengine.ports import Clock

log = structlog.get_logger(__name__)

ReadChannel = Callable[[str, str], Awaitable[bytes | None]]
"""Reads the definition of a client's channel by its name; None where there is none. StorageError, StoreUnavailable."""

_FRESH_MS = round(channels.SEEN_AFTER_S * 1000)
_MISSED_MS = 250  # of what is not there, or stopped: a job that makes or starts it tells players at once
_KNOWN = 256  # channels in memory
_AT_ONCE = 16  # reads, whatever names strangers ask for


@dataclass(slots=True)
class KnownChannel:
    """A channel as it was read at a time (None: there is none), and the playlists that were made of it last."""

    schedule: Schedule | None
    read_at: int
    version: bytes = b""
    playlists: dict[str, tuple[tuple[int, bool], str]] = field(default_factory=dict)

    @property
    def fresh_ms(self) -> int:
        """How long it need not be read again."""
        return _FRESH_MS if self.schedule is not None and self.schedule.channel.running else _MISSED_MS

    def playlist(self, schedule: Schedule, rendition: str, now: int) -> str | None:
        """Made again when a segment has come."""
        state = schedule.count(rendition, now), schedule.ended(now)
        if (found := self.playlists.get(rendition)) and found[0] == state:
            return found[1]
        text = schedule.playlist(rendition, now)
        if text is not None:
            self.playlists[rendition] = state, text
        return text


class ChannelBook:
    """The channels that were asked for lately."""

    def __init__(self, read: ReadChannel, clock: Clock) -> None:
        self._read, self.clock = read, clock
        self._known: OrderedDict[tuple[str, str], KnownChannel] = OrderedDict()
        self._reading: dict[tuple[str, str], asyncio.Task[KnownChannel]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def known(self, client: str, name: str) -> KnownChannel:
        """A channel as it was at most two seconds ago, or where its storage is away, as it was known last."""
        key = client, name
        known = self._known.get(key)
        if known is not None and 0 <= self.clock.now() - known.read_at < known.fresh_ms:
            return known
        if key not in self._reading:  # whoever else asks meanwhile waits for the same answer
            self._reading[key] = asyncio.ensure_future(self._fresh(key, known))
        return await asyncio.shield(self._reading[key])

    async def _fresh(self, key: tuple[str, str], known: KnownChannel | None) -> KnownChannel:
        try:
            found = await self._found(key, known)
        finally:
            del self._reading[key]
        self._known[key] = found
        self._known.move_to_end(key)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return found

    async def _found(self, key: tuple[str, str], known: KnownChannel | None) -> KnownChannel:
        try:
            async with self._places:
                data = await self._read(*key)
        except (StorageError, StoreUnavailable):
            if known is None:
                raise
            log.warning("channel_not_read", client=key[0], channel=key[1])
            known.read_at = self.clock.now()
            return known
        now = self.clock.now()
        if data is None:
            return KnownChannel(None, now)
        if known is not None and known.version == data:
            known.read_at = now
            return known
        try:
            return KnownChannel(await asyncio.to_thread(_schedule, data), now, data)
        except ValueError as error:
            log.warning("channel_not_one", client=key[0], channel=key[1], error=str(error)[:200])
            return KnownChannel(None, now)


def _schedule(data: bytes) -> Schedule:
    """With all that is computed of it once: of a day's channel that takes a while."""
    schedule = Schedule(channels.load(data))
    for name in schedule.names:
        schedule.count(name, 0)
    return schedule
