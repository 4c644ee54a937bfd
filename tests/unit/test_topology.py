"""The names of the messaging contract, and the matching of topics."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.brokers import open_broker
from taskengine.brokers.topology import Route, Topology, matches, worker_key
from taskengine.domain.errors import InvalidRequest
from taskengine.ports import Address

WORDS = st.lists(st.sampled_from(["job", "task", "demo", "a", ""]), max_size=6)
PATTERNS = st.lists(st.sampled_from(["job", "task", "demo", "a", "*", "#"]), min_size=1, max_size=6)


def test_names_are_those_of_the_contract() -> None:
    """What other systems rely on."""
    names = Topology()
    assert names.queue(Address.JOBS) == "taskengine.v1.jobs"
    assert names.queue(Address.TASKS, "encode") == "taskengine.v1.tasks.encode"
    assert names.queue(Address.REPORTS) == "taskengine.v1.reports"
    assert names.queue(Address.DEAD) == "taskengine.v1.dead"
    assert names.exchange(Address.CONTROL) == "taskengine.v1.control"
    assert names.exchange(Address.EVENTS) == "taskengine.v1.events"
    assert worker_key("abc") == "worker.abc"


def test_the_prefix_and_the_version_are_in_every_name() -> None:
    """Two installations, and two versions, share one broker."""
    assert Topology("acme.vod", 2).queue(Address.TASKS, "encode") == "acme.vod.v2.tasks.encode"


@pytest.mark.parametrize(
    ("address", "key", "route"),
    [
        (Address.TASKS, "encode", Route("", "taskengine.v1.tasks.encode", mandatory=True)),
        (Address.REPORTS, "", Route("", "taskengine.v1.reports", mandatory=True)),
        (Address.DEAD, "", Route("", "taskengine.v1.dead", mandatory=True)),
        (Address.REPLY, "amq.gen-1", Route("", "amq.gen-1", mandatory=False)),
        (Address.CONTROL, "worker.1", Route("taskengine.v1.control", "worker.1", mandatory=False)),
        (Address.EVENTS, "job.a.b.c", Route("taskengine.v1.events", "job.a.b.c", mandatory=False)),
    ],
)
def test_routes(address: Address, key: str, route: Route) -> None:
    """Queues are reached through the default exchange; only topics and replies may have nobody who takes them."""
    assert Topology().route(address, key) == route


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (Address.TASKS, ""), (Address.JOBS, "key"), (Address.EVENTS, "key"), (Address.REPLY, ""),
        (Address.TASKS, "x" * 300), (Address.TASKS, "line\nbreak"),
    ],
)  # fmt: skip
def test_what_is_no_queue_has_no_name(address: Address, key: str) -> None:
    """A name that no broker would take is refused here."""
    with pytest.raises(ValueError, match=r"queue|key|name"):
        Topology().queue(address, key)


def test_a_queue_is_no_exchange() -> None:
    """Only control and events are topics."""
    with pytest.raises(ValueError, match="tasks is a queue"):
        Topology().exchange(Address.TASKS)


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("job.*.vodstream.completed", "job.demo.vodstream.completed", True),
        ("job.*", "job.demo.vodstream", False),
        ("job.#", "job", True),
        ("#", "", True),
        ("#.completed", "job.demo.completed", True),
        ("job.#.completed", "job.completed", True),
        ("*", "", True),
        ("*.*", "job", False),
        ("job", "jobs", False),
        ("#.#", "a", True),
        ("#.*", "", True),
        ("j*b", "job", False),
    ],
)
def test_topics(pattern: str, key: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """`*` is one word, `#` any number, and neither is part of a word."""
    assert matches(pattern, key) is expected


@given(pattern=PATTERNS, words=WORDS)
def test_topics_match_as_a_regular_expression_would(pattern: list[str], words: list[str]) -> None:
    """The walk agrees with the plain definition on words with a mark after each."""
    one = r"[^.]*\."
    expression = "".join({"*": one, "#": f"({one})*"}.get(word, re.escape(word) + r"\.") for word in pattern)
    text = "".join(f"{word}." for word in words or [""])
    assert matches(".".join(pattern), ".".join(words)) == bool(re.fullmatch(expression, text))


def test_a_pattern_of_many_hashes_costs_little() -> None:
    """No pattern makes matching take exponential time."""
    assert not matches(".".join(["#", "a"] * 30), ".".join(["a"] * 60 + ["b"]))


def test_an_unknown_broker_names_the_known_ones_and_no_secret() -> None:
    """A wrong URL is told by its scheme alone: the rest may hold a password."""
    with pytest.raises(InvalidRequest, match="memory://") as caught:
        open_broker("redis://user:secret@localhost/")
    assert "secret" not in str(caught.value)
