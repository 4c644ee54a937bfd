"""Brokers by the scheme of their URL; third parties register theirs as entry points."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import entry_points

from taskengine.brokers.memory import open_memory
from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.ports import Broker

ENTRY_POINTS = "taskengine.brokers"

Open = Callable[[str], AbstractAsyncContextManager[Broker]]
"""Opens the broker at a URL; raises InvalidRequest for a wrong one when called. Best not BrokerUnavailable when entered:
an engine that can open its broker starts while that is away; `check` tells whether it is there."""


def open_broker(url: str) -> AbstractAsyncContextManager[Broker]:
    """The broker at `url`, open within `async with`. Each `memory://` is one of its own.

    Raises InvalidRequest at once for a URL that no broker knows.
    """
    return _opener(url.partition("://")[0].lower())(url)


def _opener(scheme: str) -> Open:
    built_in: dict[str, Open] = {"memory": open_memory, "amqp": _open_amqp, "amqps": _open_amqp}
    if scheme in built_in:
        return built_in[scheme]
    for found in entry_points(group=ENTRY_POINTS, name=scheme):
        opener: Open = found.load()
        return opener
    known = sorted({*built_in, *(found.name for found in entry_points(group=ENTRY_POINTS))})
    raise _fault(f"no broker has URLs of the kind {scheme[:20]!r}; known are {', '.join(f'{one}://' for one in known)}")


def _open_amqp(url: str) -> AbstractAsyncContextManager[Broker]:
    from taskengine.brokers.rabbitmq import open_rabbitmq  # a slow import, and most installations have no use for it

    return open_rabbitmq(url)


def _fault(message: str) -> InvalidRequest:
    return InvalidRequest(f"broker_url: {message}", [Fault("/broker_url", message)])
