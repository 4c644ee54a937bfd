"""Publishes the outbox of events on the bus, in order: one engine at a time, whichever has its turn.

The turn is one value in the store, changed by whoever has read it as it is (compare and swap): who has the turn, a count
that grows as a sign of life, and the last event that the broker confirmed. So a turn that was lost cannot be written, and
what is published twice, after a crash or by one who was taken for dead, is the same event with the same id and `seq`.
Another engine takes the turn where its value has stayed the same for a while: no clock of another machine is asked.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import structlog

from taskengine.domain.cloud_events import CONTENT_TYPE, event_id, routing_key, to_json
from taskengine.domain.errors import StoreUnavailable
from taskengine.engine.signals import Signal
from taskengine.ports import Address, Broker, Clock, EventStore, Message, Outgoing

log = structlog.get_logger(__name__)

META = "event_bus"  # the name of the turn's value in the store
_BATCH = 500
_TRIES = 5
_LINGER_S = 0.05  # after a batch, so that under load the next one is worth its transaction


class Store(EventStore, Protocol):
    """Where events and the turn are."""

    async def meta(self, name: str) -> str | None:
        """See `ports.JobStore.meta`."""
        ...

    async def swap_meta(self, name: str, before: str | None, value: str) -> bool:
        """See `ports.JobStore.swap_meta`."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """Who publishes ("" for nobody), its sign of life, and the id of the last event that is out."""

    owner: str = ""
    beat: int = 0
    after: int = 0

    @property
    def text(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str | None) -> Turn:
        """As it was stored, also by a later version that says more."""
        given = {} if text is None else json.loads(text)
        return cls(**{name: given[name] for name in cls.__slots__ if name in given})


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `look_s`: between looks for what no signal told of (events of other engines). `heartbeat_s`: between signs
    of life of an idle turn; `lease_s`: a turn without one for so long is taken, 0 where no other engine can be there."""

    look_s: float
    heartbeat_s: float
    lease_s: float


class EventBus:
    """The publisher of one engine."""

    def __init__(self, store: Store, broker: Broker, signal: Signal, clock: Clock, pace: Pace, *, source: str) -> None:
        self._store, self._broker, self._signal = store, broker, signal
        self._clock, self._pace, self._source = clock, pace, source
        self._me = uuid.uuid4().hex

    async def run(self) -> None:
        """Wait for the turn and publish, for ever. The turn is given back at the end; after a fault it is kept, and lost
        where the fault lasts."""
        try:
            while True:
                turn = await self._taken()
                log.info("event_bus_turn", after=turn.after)
                beat_at = self._clock.now()
                while turn.owner == self._me:
                    turn, beat_at = await self._round(turn, beat_at)
                log.info("event_bus_turn_lost")
        except asyncio.CancelledError:
            with suppress(StoreUnavailable):
                await self._give_back()
            raise

    async def _give_back(self) -> None:
        """Nobody's, at once. A write that the cancellation met may still be made meanwhile."""
        for _ in range(_TRIES):
            text = await self._store.meta(META)
            turn = Turn.of(text)
            if turn.owner != self._me or await self._store.swap_meta(META, text, replace(turn, owner="").text):
                return

    async def _taken(self) -> Turn:
        """Wait until this engine has the turn."""
        seen, since = None, self._clock.now()
        while True:
            text, now = await self._store.meta(META), self._clock.now()
            turn = Turn.of(text)
            over = text == seen and now - since >= self._pace.lease_s * 1000
            if turn.owner in {"", self._me} or over or self._pace.lease_s == 0:
                mine = Turn(self._me, turn.beat + 1, turn.after)
                if await self._store.swap_meta(META, text, mine.text):
                    return mine
                continue
            if text != seen:
                seen, since = text, now
            await self._clock.sleep(self._pace.heartbeat_s)

    async def _round(self, turn: Turn, beat_at: int) -> tuple[Turn, int]:
        """Publish what is there, or wait for it. The turn as it is then: another owner's where it was lost."""
        events = await self._store.events_after(turn.after, limit=_BATCH)
        now = self._clock.now()
        if events:
            await self._broker.publish([self._outgoing(row) for row in events])
        elif self._pace.lease_s == 0 or now - beat_at < self._pace.heartbeat_s * 1000:
            await self._signal.wait(self._clock, self._pace.look_s)
            return turn, beat_at
        after = events[-1]["id"] if events else turn.after
        following = replace(turn, beat=turn.beat + 1, after=after)
        if not await self._store.swap_meta(META, turn.text, following.text):
            return Turn(), now
        if 0 < len(events) < _BATCH:
            await self._clock.sleep(_LINGER_S)
        return following, now

    def _outgoing(self, row: Mapping[str, Any]) -> Outgoing:
        message = Message(self._body(row), event_id(row), content_type=CONTENT_TYPE)
        return Outgoing(Address.EVENTS, message, routing_key(row))

    def _body(self, row: Mapping[str, Any]) -> bytes:
        try:
            return to_json(row, self._source)
        except ValueError as error:  # a number that JSON does not have: no event may stop those behind it
            log.error("event_without_data", id=event_id(row), error=str(error))  # noqa: TRY400 - it says enough
            return to_json({**row, "body": None}, self._source)


class EventRetention:
    """Deletes events that were kept long enough; those that are still to be published stay."""

    def __init__(self, store: Store, clock: Clock, *, kept_s: float, published: bool) -> None:
        self._store, self._clock = store, clock
        self._kept_ms, self._published = round(kept_s * 1000), published

    async def clean(self) -> int:
        """How many were deleted."""
        out = Turn.of(await self._store.meta(META)).after if self._published else await self._store.last_event()
        before, gone = self._clock.now() - self._kept_ms, 0
        while deleted := await self._store.clean_events(before=before, up_to=out, limit=_BATCH):
            gone += deleted
        return gone
