"""The bodies of callbacks, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from taskengine.domain.callbacks import job_body, task_body
from taskengine.domain.job import Job, Task
from taskengine.domain.status import JobState, TaskState

AT = 2_222_589_600_120
TIME = "2040-06-06T10:00:00.120Z"


def _job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": 123, "client": "demo", "workflow": "vodstream", "workflow_digest": "d", "state": JobState.COMPLETED,
        "created_at": 0, "updated_at": 0, "parameters": {}, "arguments": {}, "content_id": "demo1",
        "custom_data": {"ref": [1, None]},
    }  # fmt: skip
    return Job(**(values | changes))


def _task(**changes: Any) -> Task:
    values: dict[str, Any] = {
        "id": 901, "job_id": 123, "step": "probe", "index": None, "handler": "probe", "queue": "work",
        "state": TaskState.RUNNING, "created_at": 0,
    }  # fmt: skip
    return Task(**(values | changes))


def test_a_task_callback_has_the_published_fields_in_order() -> None:
    """Nothing is missing and nothing is added."""
    body = task_body(_job(), _task(), "start", "", AT)
    assert list(body.items()) == [
        ("job_id", 123), ("task_id", 901), ("task_name", "probe"), ("workflow", "vodstream"), ("event", "start"),
        ("content_id", "demo1"), ("message", ""), ("time", TIME), ("client", "demo"),
    ]  # fmt: skip


def test_a_failed_task_tells_the_exception_s_message() -> None:
    """`message` is passed on as it is."""
    body = task_body(_job(content_id=None), _task(), "fail", "no space left", AT)
    assert (body["event"], body["message"], body["content_id"]) == ("fail", "no space left", None)


@pytest.mark.parametrize(("ids", "shown"), [("number", {"job_id": 123}), ("string", {"job_id": "123"}), ("hidden", {})])
def test_ids_are_numbers_strings_or_hidden(ids: str, shown: dict[str, Any]) -> None:
    """As the client's configuration says."""
    body = job_body(_job(result={"message": "m"}), AT, ids=ids)
    assert {name: value for name, value in body.items() if name.endswith("_id") and name != "content_id"} == shown
    task = task_body(_job(), _task(), "start", "", AT, ids)
    assert task.get("task_id") == {"number": 901, "string": "901", "hidden": None}[ids]
    assert ("task_id" in task) == (ids != "hidden")


def test_a_job_callback_has_the_common_fields_then_the_workflow_s() -> None:
    """The result's message is the message; the rest follows as it was resolved."""
    result = {
        "message": "/out/demo1/master.m3u8", "files": ["/out/demo1/master.m3u8"], "metadata": {"duration": 30.0},
        "manifests": {"hls": "h", "dash": "d"}, "storage": "local",
    }  # fmt: skip
    body = job_body(_job(result=result), AT)
    assert list(body.items()) == [
        ("job_id", 123), ("status", "completed"), ("workflow", "vodstream"), ("content_id", "demo1"),
        ("message", "/out/demo1/master.m3u8"), ("custom_data", {"ref": [1, None]}), ("time", TIME), ("client", "demo"),
        ("files", ["/out/demo1/master.m3u8"]), ("metadata", {"duration": 30.0}),
        ("manifests", {"hls": "h", "dash": "d"}), ("storage", "local"),
    ]  # fmt: skip
    plain = job_body(_job(result=result), AT, extra_fields=False)
    assert set(body) - set(plain) == {"manifests", "storage"}


def test_a_result_cannot_replace_the_common_fields() -> None:
    """A workflow's fields are added; `job_id` stays hidden where it is hidden."""
    body = job_body(_job(result={"status": "odd", "client": "other", "job_id": 1, "custom_data": 2}), AT, ids="hidden")
    assert (body["status"], body["client"], body["custom_data"]) == ("completed", "demo", {"ref": [1, None]})
    assert "job_id" not in body
    assert body["message"] == ""


def test_the_output_of_vodremix_is_the_same_list_as_its_files() -> None:
    """Both names are published."""
    body = job_body(_job(workflow="vodremix", result={"message": "m", "files": ["a"]}), AT)
    assert body["output"] == body["files"] == ["a"]


@pytest.mark.parametrize(
    ("state", "failed", "error"),
    [(JobState.COMPLETED, True, "encode: no space left"), (JobState.BROKEN, False, "broken by demo")],
)
def test_a_job_that_failed_or_was_broken_tells_why(*, state: JobState, failed: bool, error: str) -> None:
    """Status failed, the job's error as message, and no field of a result."""
    body = job_body(_job(state=state, failed=failed, error=error, result={"files": ["a"], "message": "m"}), AT)
    assert (body["status"], body["message"]) == ("failed", error)
    assert "files" not in body
    assert body["custom_data"] == {"ref": [1, None]}
