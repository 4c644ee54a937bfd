"""CloudEvents for whatever rows there are, read by the CloudEvents project's own library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from taskengine.brokers.topology import Topology, matches
from taskengine.domain.cloud_events import cloud_event, routing_key, to_json
from taskengine.ports import Address

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,63}", fullmatch=True)
IDS = st.integers(1, 2**63 - 1)
BODIES = st.dictionaries(st.text(max_size=9), st.none() | st.booleans() | st.integers() | st.text(), max_size=4)
TIMES = st.integers(0, 4_102_444_799_999)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Rows of events, of jobs and of tasks."""
    row = {
        "id": draw(IDS), "job_id": draw(IDS), "client": draw(NAMES), "workflow": draw(NAMES), "seq": draw(IDS),
        "at": draw(TIMES), "body": draw(BODIES), "kind": "job", "name": draw(st.sampled_from(["queued", "completed"])),
        "task_id": None, "task_name": None,
    }  # fmt: skip
    if draw(st.booleans()):
        name = draw(st.sampled_from(["start", "complete", "fail"]))
        row |= {"kind": "task", "task_id": draw(IDS), "task_name": draw(NAMES | st.just("a.b")), "name": name}
    return row


@given(rows())
def test_every_event_is_a_cloud_event(row: dict[str, Any]) -> None:
    """Another reader finds every attribute valid, the body as it was, and `seq`."""
    event = JSONFormat().read(None, to_json(row, "/here"))
    given_at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=row["at"])
    assert (event.get_specversion(), event.get_source(), event.get_time()) == ("1.0", "/here", given_at)
    assert (event.get_data(), event.get_extension("seq")) == (row["body"], row["seq"])
    assert event.get_datacontenttype() == "application/json"
    assert event.get_type() == f"taskengine.{row['kind']}.{row['name']}"
    task = f"/tasks/{row['task_id']}" if row["task_id"] else ""
    assert event.get_subject() == f"jobs/{row['job_id']}{task}"


@given(rows(), rows())
def test_ids_are_those_of_the_event(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The same for the same event of the same job, whenever it is sent; no two share one."""
    same = (one["job_id"], one["seq"]) == (other["job_id"], other["seq"])
    assert (cloud_event(one, "/a")["id"] == cloud_event(other, "/b")["id"]) == same


@given(rows())
def test_routing_keys_have_the_words_of_the_contract(row: dict[str, Any]) -> None:
    """Always so many, whatever the names are, and never too long for AMQP."""
    key = routing_key(row)
    words = key.split(".")
    assert len(words) == (4 if row["kind"] == "job" else 5)
    assert (words[0], words[1], words[2], words[-1]) == (row["kind"], row["client"], row["workflow"], row["name"])
    assert matches(f"{row['kind']}.{row['client']}.#", key)
    Topology().route(Address.EVENTS, key)
