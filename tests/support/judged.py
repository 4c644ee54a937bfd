"""Holds what our own code publishes to the published schemas."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from jsonschema import Draft202012Validator

from taskengine.brokers import open_broker
from taskengine.ports import Address, Broker, Outgoing

SCHEMAS = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
VALIDATORS = {
    path.stem: Draft202012Validator(json.loads(path.read_text(encoding="utf-8"))) for path in SCHEMAS.glob("*.json")
}
OF_ADDRESS = {
    Address.JOBS: "job",
    Address.TASKS: "task",
    Address.REPORTS: "reports",
    Address.CONTROL: "control",
    Address.EVENTS: "event",
    Address.REPLY: "job-reply",
}


def faults(name: str, body: Any) -> list[str]:
    """What the schema of a message has against it."""
    return [f"{name}{fault.json_path[1:]}: {fault.message[:200]}" for fault in VALIDATORS[name].iter_errors(body)]


class Judge:
    """Reads along with every publish of a broker."""

    def __init__(self) -> None:
        self.judged: dict[str, int] = {}
        self.faults: list[str] = []

    def wrap(self, broker: Broker) -> Broker:
        """The same broker; what it publishes from now on is judged first."""
        publish = broker.publish

        async def judged(messages: Sequence[Outgoing]) -> None:
            for outgoing in messages:
                self.read(outgoing)
            await publish(messages)

        broker.publish = judged  # type: ignore[method-assign]
        return broker

    def read(self, outgoing: Outgoing) -> None:
        """Judge one; dead letters are as they came."""
        name = OF_ADDRESS.get(outgoing.address)
        if name is not None:
            self.judged[name] = self.judged.get(name, 0) + 1
            self.faults += faults(name, json.loads(outgoing.message.body))

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Broker]:
        """A broker that is judged."""
        async with open_broker(url) as broker:
            yield self.wrap(broker)


@contextmanager
def judging() -> Iterator[Judge]:
    """Judge what engines publish that are started within; at the end, fail where anything broke its schema."""
    judge = Judge()
    with patch("taskengine.app.engine.open_broker", judge.open):
        yield judge
    assert not judge.faults, judge.faults[:5]
