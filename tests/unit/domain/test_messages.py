"""The wire contract's values: limits, and inputs by reference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskengine.domain.errors import MessageError
from taskengine.domain.messages import MAX_OUTPUT_BYTES, ReportEvent, TaskMessage, WorkerInfo, WorkerMessage

TASK: dict[str, Any] = {
    "v": 1, "job_id": 1, "task_id": 2, "attempt": 3, "token": "t", "queue": "q", "handler": "h", "client": "c",
    "workflow": "w", "task_name": "n", "priority": 5, "workspace": "ws://1/2/3-t", "storages": {}, "outbound_allow": [],
    "timeout_s": 60, "heartbeat_s": 5,
}  # fmt: skip
REFERENCE = {"$file": "ws://1/2/3-t/inputs.json", "size": 2, "sha256": None}


def said(*outputs: Any) -> bytes:
    """A worker's message: an attempt completed with each of these."""
    reports = [
        {"task_id": number, "attempt": 1, "token": "t", "event": "completed", "at": 1, "outputs": one}
        for number, one in enumerate(outputs, 1)
    ]
    return json.dumps({"v": 1, "worker": {"id": "w", "name": "w"}, "reports": reports}).encode()


def test_outputs_beyond_the_limit_are_a_failure_of_that_attempt_alone() -> None:
    """A worker in any language may send them: what else its message says holds."""
    most = {"x": "y" * (MAX_OUTPUT_BYTES - len('{"x":""}'))}
    within, beyond = WorkerMessage.from_json(said(most, {"x": most["x"] + "y"})).reports
    assert (within.event, within.details["outputs"]) == (ReportEvent.COMPLETED, most)
    assert beyond.event is ReportEvent.FAILED
    assert beyond.details["error"]["kind"] == "internal"
    assert f"at most {MAX_OUTPUT_BYTES} are allowed" in beyond.details["error"]["message"]


@pytest.mark.parametrize("kind", [dict, list])
def test_outputs_that_are_nested_too_deeply_are_the_attempts_failure(kind: type) -> None:
    """What reads them goes down level by level: the job's decision would fail of it, and the job with it."""

    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels - 1):
            value = {"a": value} if kind is dict else [value]
        return {"a": value}

    within, beyond, far = WorkerMessage.from_json(said(nested(64), nested(65), nested(900))).reports
    assert (within.event, within.details["outputs"]) == (ReportEvent.COMPLETED, nested(64))
    for report in (beyond, far):
        assert report.event is ReportEvent.FAILED
        assert report.details["error"]["message"] == "the outputs are nested deeper than 64 levels"


def test_a_worker_says_of_which_of_four_kinds_a_failure_is() -> None:
    """That one was lost is the engine's to say: such a failure is tried again beyond any limit of retries."""

    def failed(kind: str) -> bytes:
        report = {"task_id": 1, "attempt": 1, "token": "t", "event": "failed", "at": 1}
        error = {"kind": kind, "message": "no"}
        return json.dumps({"v": 1, "worker": {"id": "w"}, "reports": [report | {"error": error}]}).encode()

    for kind in ("input", "resource", "timeout", "internal"):
        [report] = WorkerMessage.from_json(failed(kind)).reports
        assert report.details["error"]["kind"] == kind
    for kind in ("lost", "odd"):
        with pytest.raises(MessageError, match=kind):
            WorkerMessage.from_json(failed(kind))


@pytest.mark.parametrize(
    "wrong",
    [
        {"task_id": 2**63},
        {"task_id": -(2**63) - 1},
        {"attempt": 2**70},
        {"at": 1e300},
        {"token": "a\0b"},
        {"token": "\udc80"},
    ],
    ids=str,
)
def test_what_no_store_could_hold_is_no_report_and_no_heartbeat(wrong: dict[str, Any]) -> None:
    """It would stop every report beside it, again and again."""
    report = {"task_id": 1, "attempt": 1, "token": "t", "event": "started", "at": 1} | wrong
    message: dict[str, Any] = {"v": 1, "worker": {"id": "w"}}
    for said in ({"reports": [report]}, {"running": [report]} if "at" not in wrong else {"reports": [report]}):
        with pytest.raises(MessageError):
            WorkerMessage.from_json(json.dumps(message | said).encode())


@pytest.mark.parametrize("worker_id", ["", "x" * 201, "a\0b", "a\nb", "\udc80"])
def test_a_workers_id_is_part_of_a_routing_key(worker_id: str) -> None:
    """What the engine says to it has to reach it."""
    with pytest.raises(MessageError):
        WorkerMessage.from_json(json.dumps({"v": 1, "worker": {"id": worker_id}}).encode())


def test_a_worker_may_say_what_confines_its_programs() -> None:
    """What it says is for people, and bounded; one that says nothing is none the worse for it."""
    said = WorkerInfo("w", "box", "python", {"work": 2}, {"files": "OK", "network": "network: not confined"})
    assert WorkerMessage.from_json(WorkerMessage(said).to_json()).worker == said
    silent = WorkerInfo("w", "box", "go", {"work": 2})
    assert b"sandbox" not in WorkerMessage(silent).to_json()
    assert WorkerMessage.from_json(WorkerMessage(silent).to_json()).worker == silent
    flood = WorkerInfo("w", "box", "odd", {}, {f"part {number}": "\udc80" * 1000 for number in range(100)})
    kept = WorkerMessage.from_json(WorkerMessage(flood).to_json()).worker.sandbox
    assert (len(kept), {*kept.values()}) == (8, {"?" * 200})
    with pytest.raises(MessageError):
        WorkerMessage.from_json(b'{"v":1,"worker":{"id":"w","sandbox":["OK"]}}')


def test_inputs_are_in_the_message_or_by_reference() -> None:
    """One of the two; a message that has neither is refused."""
    plain = TaskMessage.from_json(json.dumps(TASK | {"with": {"a": 1}}).encode())
    assert (plain.inputs, plain.inputs_ref) == ({"a": 1}, None)
    large = TaskMessage.from_json(json.dumps(TASK | {"with_ref": REFERENCE}).encode())
    assert (large.inputs, large.inputs_ref) == ({}, REFERENCE)
    assert "with" not in json.loads(large.to_json())
    assert TaskMessage.from_json(large.to_json()) == large
    with pytest.raises(MessageError, match="with"):
        TaskMessage.from_json(json.dumps(TASK).encode())
