"""Events as other systems get them: CloudEvents 1.0, structured JSON.

`data` is the callback's body. `seq` is an extension that counts per job from 1 without gaps, so that a follower orders what
comes, passes over what came before, and sees what is missing. `id` is unique with `source`: the same event has the same id
however often it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.domain.messages import encode
from taskengine.domain.times import format_utc

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/cloudevents+json"
TYPE_PREFIX = "taskengine"


def event_id(row: Mapping[str, Any]) -> str:
    """`<job>-<seq>`."""
    return f"{row['job_id']}-{row['seq']}"


def cloud_event(row: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The CloudEvent of an event as `ports.EventStore` gives it; `source` names the installation."""
    task = "" if row["task_id"] is None else f"/tasks/{row['task_id']}"
    return {
        "specversion": SPEC_VERSION,
        "id": event_id(row),
        "source": source,
        "type": f"{TYPE_PREFIX}.{row['kind']}.{row['name']}",
        "subject": f"jobs/{row['job_id']}{task}",
        "time": format_utc(row["at"]),
        "datacontenttype": "application/json",
        "seq": row["seq"],
        "data": row["body"],
    }


def to_json(row: Mapping[str, Any], source: str) -> bytes:
    """Its wire form."""
    return encode(cloud_event(row, source))


def routing_key(row: Mapping[str, Any]) -> str:
    """`job.<client>.<workflow>.<state>` or `task.<client>.<workflow>.<task name>.<event>`: always so many words."""
    words = [row["kind"], row["client"], row["workflow"], *([row["task_name"]] if row["kind"] == "task" else ())]
    return ".".join(str(word).replace(".", "_") for word in [*words, row["name"]])
