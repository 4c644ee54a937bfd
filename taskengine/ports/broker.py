"""Messages: what is sent, and how it is consumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the broker carries it."""

    body: bytes
    message_id: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0  # 0–9, greater first
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str = "application/json"
    user_id: str | None = None  # who published it, where the broker vouches for that; never set by a publisher of ours


class Address(StrEnum):
    """Where messages go. TASKS, CONTROL and EVENTS take a `key` (queue name, routing key)."""

    JOBS = "jobs"
    TASKS = "tasks"
    REPORTS = "reports"
    CONTROL = "control"
    EVENTS = "events"
    DEAD = "dead"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and where it goes."""

    address: Address
    message: Message
    key: str = ""


class Delivery(Protocol):
    """One message in a consumer's hands; settled exactly once (a second settling is ignored)."""

    body: bytes  # of the message: who looks at nothing else of it saves the reading of its properties
    redelivered: bool

    @property
    def message(self) -> Message:
        """All of it. Raises MessageError where its properties cannot be read."""
        ...

    async def ack(self) -> None:
        """Done with it."""
        ...

    async def requeue(self) -> None:
        """Give it back; it will be delivered again, marked redelivered."""
        ...

    async def reject(self, reason: str, letter: Message | None = None) -> None:
        """Send it to the dead-letter queue, with the reason; `letter` goes in its place where it has secrets."""
        ...


class Consumer(Protocol):
    """An open subscription. At most `prefetch` deliveries are unsettled at a time."""

    async def batch(self, limit: int) -> list[Delivery]:
        """Wait for one delivery, then take what is there already, at most `limit`. [] only when closed."""
        ...

    async def pause(self) -> None:
        """Take nothing more from the broker; what was buffered and not handed out goes back to the queue."""
        ...

    async def resume(self) -> None:
        """Take again."""
        ...

    async def set_prefetch(self, count: int) -> None:
        """From now on hold at most so many unsettled (0: as paused); what was buffered beyond goes back."""
        ...


class Broker(Protocol):
    """Carries hints, reports, control and events between processes. It is never the truth: the store is.

    Guarantees: at least once for JOBS, TASKS, REPORTS and DEAD; at most once for CONTROL and EVENTS (fan-out to whoever
    listens now). A message that is not settled when its consumer closes is delivered again, marked redelivered.
    """

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all, pipelined; return when every one is confirmed. Raises BrokerUnavailable (then some may be out)."""
        ...

    def consume(self, address: Address, key: str = "", *, prefetch: int = 1) -> AbstractAsyncContextManager[Consumer]:
        """Consume a queue (JOBS, TASKS with its queue name, REPORTS, DEAD)."""
        ...

    def subscribe(self, address: Address, keys: Sequence[str]) -> AbstractAsyncContextManager[Consumer]:
        """Listen to a topic exchange (CONTROL, EVENTS) with binding keys (`*` one word, `#` any number)."""
        ...

    async def prepare(self, queues: Sequence[str]) -> None:
        """Make these queues of tasks, and what every installation has, where they are not there: workers of others find
        them before there is a task. Raises BrokerUnavailable."""
        ...

    async def waiting(self, queue: str) -> int:
        """How many messages wait in a queue of tasks; what consumers hold is not counted. Raises BrokerUnavailable."""
        ...

    async def check(self) -> None:
        """Raise BrokerUnavailable where it cannot be reached now."""
        ...
