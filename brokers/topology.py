"""The names of the messaging contract: queues, exchanges and routing keys, from the configured prefix. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskengine.domain.messages import VERSION
from taskengine.ports import Address

ALL_WORKERS = "all"
MAX_NAME_BYTES = 255  # of a queue's name or a routing key, in AMQP 0-9-1

_TOPICS = {Address.CONTROL, Address.EVENTS}


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message is published: "" is the default exchange, whose routing keys are the queues' names.

    `mandatory`: that nobody takes it is a fault.
    """

    exchange: str
    routing_key: str
    mandatory: bool


@dataclass(frozen=True, slots=True)
class Topology:
    """Every name of one installation: `<prefix>.v<version>.…`."""

    prefix: str = "taskengine"
    version: int = VERSION

    def queue(self, address: Address, key: str = "") -> str:
        """The queue of an address; ValueError where it is a topic exchange, or the name would be none."""
        if address in _TOPICS:
            raise ValueError(f"{address.value} is a topic exchange, not a queue")
        if address is Address.REPLY:
            if key.startswith(f"{self.prefix}.v{self.version}."):
                raise ValueError(f"{key[:60]!r} is a queue of the engine's own: no answer goes there")
            return _checked(key)
        if (address is Address.TASKS) != bool(key):
            raise ValueError("tasks need the name of a queue" if not key else f"{address.value} has no queue {key!r}")
        return self._name(address, *filter(None, [key]))

    def exchange(self, address: Address) -> str:
        """The topic exchange of an address; ValueError where it is a queue."""
        if address not in _TOPICS:
            raise ValueError(f"{address.value} is a queue, not a topic exchange")
        return self._name(address)

    def route(self, address: Address, key: str = "") -> Route:
        """Where a message to an address is published."""
        if address in _TOPICS:
            return Route(self.exchange(address), _checked(key), mandatory=False)
        return Route("", self.queue(address, key), mandatory=address is not Address.REPLY)

    def _name(self, address: Address, *more: str) -> str:
        return _checked(".".join([self.prefix, f"v{self.version}", address.value, *more]))


def worker_key(worker_id: str) -> str:
    """The routing key of control messages to one worker."""
    return f"worker.{worker_id}"


def matches(pattern: str, key: str) -> bool:
    """Whether a binding key takes a routing key: `*` is one word, `#` any number of words, also none."""
    return _matches(pattern.split("."), key.split("."))


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """Walk the words with every place of the pattern at which one may be: linear in both, whatever the pattern."""
    places = _past_hashes(pattern, {0})
    for word in words:
        stay = {place for place in places if place < len(pattern) and pattern[place] == "#"}
        move = {place + 1 for place in places if place < len(pattern) and pattern[place] in {"*", word} - {"#"}}
        places = _past_hashes(pattern, stay | move)
    return len(pattern) in places


def _past_hashes(pattern: Sequence[str], places: set[int]) -> set[int]:
    reached = set(places)
    for place, word in enumerate(pattern):
        if word == "#" and place in reached:
            reached.add(place + 1)
    return reached


def _checked(name: str) -> str:
    if not name or len(name.encode()) > MAX_NAME_BYTES or not name.isprintable():
        raise ValueError(f"{name[:60]!r} is no name for a queue or key: 1 to {MAX_NAME_BYTES} printable bytes are")
    return name
