"""Submitting, listing and changing jobs over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from taskengine.domain.execution import Run
from taskengine.domain.times import format_utc
from tests.support.api import ADMIN_HEADERS, ADMIN_KEY, World, api_world, fail
from tests.support.clock import START

FIELDS = {
    "id", "client", "workflow", "priority", "position", "top_of_queue", "created_at", "updated_at", "run_at",
    "queue_state", "failed", "parameters", "started_at", "completed_at", "progress", "error", "persist",
    "semaphore_url", "content_id", "workflow_version", "custom_data", "rerun_of",
}  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API with an admin."""
    async with api_world(tmp_path) as made:
        yield made


def submission(workflow: str = "chain", /, **job: Any) -> dict[str, Any]:
    """A body of `POST /job`."""
    return {"job": {"workflow": workflow, **job}, "parameters": {"content_id": "c1"}}


async def ids(world: World, query: str = "") -> list[int]:
    """The ids that a list gives."""
    reply = await world.call("GET", f"/jobs{query}")
    assert reply.status == 200, reply.body
    return [job["id"] for job in reply.body]


# --------------------------------------------------------------------------------------------------------------- submit


async def test_a_submission_is_answered_with_the_ids_of_job_and_tasks(world: World) -> None:
    """The published answer."""
    reply = await world.call("POST", "/job", submission())
    assert reply.status == 200
    assert reply.body["id"] == reply.body["job_id"]
    assert reply.body["result"] == "accepted"
    assert [task["name"] for task in reply.body["tasks"]] == ["a", "b", "c"]
    assert all(isinstance(task["id"], int) for task in reply.body["tasks"])


async def test_a_job_is_shown_with_every_field_of_the_contract(world: World) -> None:
    """The job object, under both paths."""
    custom = {"key": "mine", "n": [1, 2.5, None], "deep": {"token": "t"}}
    body = submission("sealed", priority=3, persist=True)
    body["parameters"] |= {"custom_data": custom, "content_key": "00112233445566778899", "x": 1}
    job_id = (await world.call("POST", "/job", body)).body["id"]
    for path in (f"/jobs/{job_id}", f"/job/{job_id}"):
        job = (await world.call("GET", path)).body
        assert set(job) == FIELDS
        assert (job["workflow"], job["priority"], job["persist"], job["queue_state"]) == ("sealed", 3, True, 0)
        assert (job["content_id"], job["custom_data"], job["failed"]) == ("c1", custom, False)
        assert job["parameters"] == {"content_id": "c1", "custom_data": custom, "content_key": "****", "x": 1}
        assert job["created_at"] == format_utc(START)
        assert job["run_at"] is None


async def test_texts_stand_for_booleans_and_numbers_in_job(world: World) -> None:
    """As the published examples have them."""
    body = submission(priority="3", persist="true", top_of_queue="false", max_retries="2", timeout="90s")
    job_id = (await world.call("POST", "/job", body)).body["id"]
    job = (await world.call("GET", f"/jobs/{job_id}")).body
    assert (job["priority"], job["persist"], job["top_of_queue"]) == (3, True, False)


@pytest.mark.parametrize("name", ["semaphore_url", "sempahore_url"])
async def test_the_semaphores_name_may_be_misspelt(world: World, name: str) -> None:
    """In `job` and in PATCH; the job waits for it."""
    job_id = await world.submit(**{name: "https://example.com/a"})
    job = (await world.call("GET", f"/jobs/{job_id}")).body
    assert (job["semaphore_url"], job["queue_state"]) == ("https://example.com/a", 5)
    reply = await world.call("PATCH", f"/jobs/{job_id}", {name: "https://example.com/b"})
    assert reply.body["result"] == "Performed updates: semaphore_url"
    assert (await world.call("GET", f"/jobs/{job_id}")).body["semaphore_url"] == "https://example.com/b"


async def test_a_time_without_a_zone_is_utc(world: World) -> None:
    """`run_at` comes back with milliseconds and Z."""
    job_id = await world.submit(run_at="2040-06-06T10:00:00.000")
    job = (await world.call("GET", f"/jobs/{job_id}")).body
    assert (job["run_at"], job["queue_state"]) == ("2040-06-06T10:00:00.000Z", 5)


async def test_every_fault_of_a_submission_is_named_at_once(world: World) -> None:
    """Of the envelope and of the parameters; nothing is stored."""
    body = {
        "job": {
            "workflow": "vodstream", "priority": 11, "run_at": "soon", "persist": "maybe", "semaphore_url": "ftp://x",
            "tags": ["", "a"], "timeout": -1, "after": ["x"],
        },
        "parameters": {"source_folder": "../up", "content_id": 5},
    }  # fmt: skip
    reply = await world.call("POST", "/job", body)
    assert reply.status == 400
    expected = {
        "/job/priority", "/job/run_at", "/job/persist", "/job/semaphore_url", "/job/tags/0", "/job/timeout",
        "/job/after/0", "/parameters/source_folder",
    }  # fmt: skip
    assert expected <= set(reply.faults)
    assert "/job/priority: must be from 1 to 10, not 11" in reply.body["error"]
    assert await ids(world) == []


async def test_a_fault_is_named_once_and_in_plain_words(world: World) -> None:
    """Whoever finds it: the schema, or who knows what the installation has."""
    body = {
        "job": {"workflow": "vodstream", "after": 1, "tags": {}},
        "parameters": {"source_folder": "a", "output_root": 5},
    }
    details = (await world.call("POST", "/job", body)).body["details"]
    assert {fault["path"]: fault["message"] for fault in details} == {
        "/job/after": "must be a list",
        "/job/tags": "must be a list",
        "/parameters/content_id": "content_id is required",
        "/parameters/output_root": "output_root must be a string, not 5",
    }
    assert len(details) == 4


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "/job"),
        ({"job": None}, "/job"),
        ({"job": []}, "/job"),
        ({"job": {}}, "/job/workflow"),
        ({"job": {"workflow": None}}, "/job/workflow"),
        ({"job": {"workflow": 5}}, "/job/workflow"),
        ({"job": {"workflow": "chian"}}, "/job/workflow"),
        ({"job": {"workflow": "chain"}, "parameters": []}, "/parameters"),
        ({"job": {"workflow": "chain"}, "parameters": {}, "extra": 1}, "/extra"),
        ({"job": {"workflow": "chain", "prioritty": 1}}, "/job/prioritty"),
        ({"job": {"workflow": "chain", "priority": True}}, "/job/priority"),
        ({"job": {"workflow": "chain", "priority": 2.5}}, "/job/priority"),
        ({"job": {"workflow": "chain", "run_at": 5}}, "/job/run_at"),
        ({"job": {"workflow": "chain", "after": 5}}, "/job/after"),
        ({"job": {"workflow": "chain", "after": [999]}}, "/job/after/0"),
        ({"job": {"workflow": "chain", "semaphore_url": "http://169.254.169.254/"}}, "/job/semaphore_url"),
        ({"job": {"workflow": "chain", "semaphore_url": "http://a", "sempahore_url": "http://b"}}, "/job/sempahore_url"),
        ({"job": {"workflow": "chain"}, "parameters": {"rest_endpoints": ["http://10.0.0.1/"]}},
         "/parameters/rest_endpoints/0"),
        ({"job": {"workflow": "later"}}, "/job/workflow"),
        ({"client": 5, "job": {"workflow": "chain"}}, "/client"),
    ],
)  # fmt: skip
async def test_a_wrong_submission_names_the_field(world: World, body: dict[str, Any], path: str) -> None:
    """400, the path in the details."""
    reply = await world.call("POST", "/job", body)
    assert (reply.status, path in reply.faults) == (400, True), reply.body


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 0}, "width must not be 0"),
        ({"height": "0"}, "height must not be 0"),
        ({"height": -2}, "height must be at least -1, not -2"),
        ({"width": 4097}, "width must be at most 4096, not 4097"),
        ({"duration": 601}, "duration must be at most 600, not 601"),
    ],
)
async def test_a_gif_that_cannot_be_is_refused_at_once(world: World, given: dict[str, Any], message: str) -> None:
    """By its field, before there is a job."""
    parameters = {
        "content_id": "film", "source": "https://cdn.example/film.m3u8", "start_at": 0, "duration": 2,
        "output_folder": "gifs", "gif_filename": "a.gif", **given,
    }  # fmt: skip
    reply = await world.call("POST", "/job", {"job": {"workflow": "generate_gif"}, "parameters": parameters})
    [field] = given
    assert (reply.status, reply.body["details"]) == (400, [{"path": f"/parameters/{field}", "message": message}])


async def test_a_misspelt_name_is_answered_with_the_nearest(world: World) -> None:
    """For workflows and fields."""
    assert "'chain'" in (await world.call("POST", "/job", submission("chian"))).body["error"]
    assert "'priority'" in (await world.call("POST", "/job", submission(prioritty=1))).body["error"]


async def test_published_workflows_warn_of_unknown_names(world: World) -> None:
    """Existing clients send such: accepted, and said so; a strict client gets a 400."""
    await world.add_client("strict", strict_parameters=True)
    body = {
        "job": {"workflow": "vodstream", "nmae": "x"},
        "parameters": {"content_id": "c", "source_folder": "in/a", "creat_thumbnail": True},
    }
    reply = await world.call("POST", "/job", body)
    assert reply.status == 200, reply.body
    assert any("creat_thumbnail" in text and "create_thumbnail" in text for text in reply.body["warnings"])
    assert any("/job/nmae" in text for text in reply.body["warnings"])
    logged = [entry["message"] for entry in (await world.call("GET", f"/logs/{reply.body['id']}")).body]
    assert logged[1:3] == reply.body["warnings"]
    assert (await world.call("POST", "/job", body, by="strict")).status == 400


async def test_endpoints_that_are_no_list_or_no_urls_are_one_fault_each(world: World) -> None:
    """A text is not taken for a list of its characters."""
    body = submission()
    for endpoints, paths in (("http://e.example/x", [""]), (["ftp://e.example", 5], ["/0", "/1"])):
        body["parameters"]["rest_endpoints"] = endpoints
        reply = await world.call("POST", "/job", body)
        assert reply.status == 400
        assert [fault["path"] for fault in reply.body["details"]] == [
            f"/parameters/rest_endpoints{path}" for path in paths
        ]


async def test_the_same_key_and_body_make_one_job(world: World) -> None:
    """The first answer again; another body is a conflict; another client's key is another's."""
    headers = {"Idempotency-Key": "k1"}
    first = await world.call("POST", "/job", submission(), headers=headers)
    again = await world.call("POST", "/job", submission(), headers=headers)
    assert (again.status, again.body) == (200, first.body)
    for other in (submission(priority=1), submission(priority=99), submission("nowhere")):  # whatever is wrong with it
        reply = await world.call("POST", "/job", other, headers=headers)
        assert (reply.status, reply.body["id"]) == (409, first.body["id"])
    await world.add_client("other")
    assert (await world.call("POST", "/job", submission(), by="other", headers=headers)).body["id"] != first.body["id"]
    assert len(await ids(world)) == 2
    assert (await world.call("POST", "/job", submission(), headers={"Idempotency-Key": ""})).status == 400


async def test_calls_with_one_key_at_one_time_make_one_job(world: World) -> None:
    """Each of them gets the answer of the one that was first."""
    calls = (world.call("POST", "/job", submission(), headers={"Idempotency-Key": "race"}) for _ in range(12))
    replies = await asyncio.gather(*calls)
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body["id"] for reply in replies}) == 1
    assert len(await ids(world)) == 1


async def test_the_first_log_entry_is_the_submission_with_secrets_masked(world: World) -> None:
    """Word for word as operators of the original search for it."""
    body = submission("sealed")
    body["parameters"]["content_key"] = "00112233445566778899"
    job_id = (await world.call("POST", "/job", body)).body["id"]
    entries = (await world.call("GET", f"/logs/{job_id}")).body
    first = entries[0]
    said = json.loads(first["message"])
    assert (said["path"], said["payload"], said["parameters"]["content_key"]) == ("/job", "job_created", "****8899")
    headers = {name.lower(): value for name, value in said["headers"].items()}
    assert headers["api-key"] == "****6789"
    assert (first["job_id"], first["task_id"], first["severity"], first["severity_description"]) == (
        job_id,
        0,
        1,
        "info",
    )
    assert (first["progname"], first["visible"], first["updated_at"]) == ("api", True, first["created_at"])


# ----------------------------------------------------------------------------------------------------------------- list


async def test_the_list_is_a_bare_array_newest_first(world: World) -> None:
    """Ten by default; `asc` turns it round."""
    made = [await world.submit() for _ in range(12)]
    assert await ids(world) == made[:1:-1]
    assert await ids(world, "?asc=1&limit=3") == made[:3]
    assert await ids(world, "?asc=true&limit=99999999999999999999") == made


async def test_a_cursor_leads_through_all_pages(world: World) -> None:
    """The Link header names the next page, in every order; the last page names none."""
    made = [await world.submit(priority=1 + n % 3) for n in range(7)]
    for query in ("?limit=3", "?limit=3&order_by=priority&asc=1", "?limit=3&order_by=created_at"):
        seen: list[int] = []
        url = f"http://engine/jobs{query}"
        while url:
            async with world.http.get(URL(url).path_qs, headers=ADMIN_HEADERS) as response:
                page = [job["id"] for job in await response.json()]
                assert len(page) <= 3
                seen += page
                following = response.links.get("next")
                url = str(following["url"]) if following else ""
        assert sorted(seen) == made


async def test_the_next_page_is_where_the_operator_says_that_clients_reach_the_api(tmp_path: Path) -> None:
    """Behind a proxy that speaks TLS the request's own URL is not the client's."""
    async with api_world(tmp_path, public_url="https://vod.example/engine/") as world:
        _, second = await world.submit(), await world.submit()
        async with world.http.get("/jobs?limit=1", headers=ADMIN_HEADERS) as response:
            assert [job["id"] for job in await response.json()] == [second]
            assert response.headers["Link"] == (
                f'<https://vod.example/engine/jobs?limit=1&after_id={second}>; rel="next"'
            )


async def test_filters_hold_together(world: World) -> None:
    """State, priority, workflow, tag, ids, search, persist, dates."""
    one = await world.submit(priority=2, tags=["red"], persist=True)
    world.clock._now += 10_000
    two = await world.submit("fan", run_at="2040-01-01T00:00:00Z")
    between = format_utc(START + 5_000)
    expected = {
        "state=queued": [one], "state=0": [one], "state=5": [two], "state=SCHEDULED": [two], "state=1": [],
        "state=7": [], "priority=2": [one], "workflow=fan": [two], "tag=red": [one], f"job_ids={two}": [two],
        f"job_ids={two},{one}": [two, one], "search=C1": [two, one], "search=fan": [two], "search=": [two, one],
        "persist=1": [one], "persist=0": [two], f"from={between}": [two], f"to={between}": [one],
        f"from={between}&to={between}": [], f"after_id={two}": [one], "failed=0": [two, one], "failed=1": [],
        "from=2027-01-15T00:00:00+00:00": [two, one], "client=nobody": [], "state=0&failed=0": [],
        "unknown=1": [two, one],
    }  # fmt: skip
    found = {query: await ids(world, f"?{query}") for query in expected}
    assert found == expected


async def test_ended_and_failed_is_a_state_of_its_own(world: World) -> None:
    """7: completed, and failed; 2 with `failed` likewise; `failed` with any other state gives nothing."""
    good, bad = await world.submit(), await world.submit()
    await world.tell(bad, fail)
    assert (await world.call("GET", f"/jobs/{bad}")).body["error"] == "it broke"
    expected = {
        "state=7": [bad], "state=2": [bad], "state=2&failed=1": [bad], "state=2&failed=0": [], "failed=1": [bad],
        "failed=0": [good], "state=0&failed=1": [], "state=7&failed=1": [],
    }  # fmt: skip
    assert {query: await ids(world, f"?{query}") for query in expected} == expected


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=-1", "limit=x", "limit=", "limit=1.5", "order_by=error", "order_by=", "asc=2", "asc=yes",
        "state=8", "state=-1", "state=x", "state=", "from=x", "to=2020-13-01", "failed=2", "persist=x", "priority=0",
        "priority=11", "job_ids=", "job_ids=1,,2", "job_ids=a", "job_ids=99999999999999999999", "after_id=x",
        "client=", "workflow=", "tag=", "search=%00", "state=0&state=1", "limit=%EF%BC%91",
    ],
)  # fmt: skip
async def test_a_bad_value_of_the_query_is_refused(world: World, query: str) -> None:
    """400, naming the parameter."""
    reply = await world.call("GET", f"/jobs?{query}")
    assert (reply.status, list(reply.faults)) == (400, [f"?{query.partition('=')[0]}"])


# --------------------------------------------------------------------------------------------------------------- change


async def test_the_position_is_the_place_among_the_queued(world: World) -> None:
    """In the order of start; 1 for one that is not queued."""
    last, first = await world.submit(priority=5), await world.submit(priority=1)
    scheduled = await world.submit(run_at="2040-01-01")
    positions = {job["id"]: job["position"] for job in (await world.call("GET", "/jobs")).body}
    assert positions == {first: 1, last: 2, scheduled: 1}


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("path", ["/jobs", "/job"])
async def test_fields_are_changed_and_named(world: World, method: str, path: str) -> None:
    """In the order in which they were given; texts stand for numbers and booleans."""
    job_id = await world.submit()
    body = {"client": "demo", "priority": "2", "top_of_queue": "true", "persist": True}
    reply = await world.call(method, f"{path}/{job_id}", body)
    assert reply.body == {"id": job_id, "result": "Performed updates: priority, top_of_queue, persist"}
    job = (await world.call("GET", f"/jobs/{job_id}")).body
    assert (job["priority"], job["top_of_queue"], job["persist"]) == (2, True, True)


@pytest.mark.parametrize("asked", ["paused", 6, "6", "PAUSED"])
async def test_a_job_is_paused_resumed_and_broken(world: World, asked: object) -> None:
    """By the names of the states, or by their numbers."""
    job_id = await world.submit()
    for state, number in ((asked, 6), ("queued", 0), ("broken", 4)):
        assert (await world.call("PATCH", f"/jobs/{job_id}", {"queue_state": state})).status == 200
        assert (await world.call("GET", f"/jobs/{job_id}")).body["queue_state"] == number


async def test_the_log_says_who_held_a_job_and_when_it_will_run(world: World) -> None:
    """As it does of a break; the time in the words that operators search for, each once."""
    job_id = await world.submit(run_at="2040-01-01")
    for patch in ({"run_at": "2041-01-01"}, {"run_at": "2041-01-01"}, {"queue_state": "paused"},
                  {"queue_state": "queued", "run_at": "2042-01-01"}, {"queue_state": "broken"}):  # fmt: skip
        assert (await world.call("PATCH", f"/jobs/{job_id}", patch)).status == 200
    entries = (await world.call("GET", f"/logs/{job_id}")).body
    assert [entry["message"] for entry in entries[1:]] == [
        'Job will run at: "2040-01-01T00:00:00.000Z"',
        'Job will run at: "2041-01-01T00:00:00.000Z"',
        "job is paused by demo",
        "job is resumed by demo",
        'Job will run at: "2042-01-01T00:00:00.000Z"',
        "job is broken by demo",
    ]


async def test_null_takes_a_time_away(world: World) -> None:
    """And the job goes to the queue."""
    job_id = await world.submit(run_at="2040-01-01")
    assert (await world.call("PATCH", f"/jobs/{job_id}", {"run_at": None})).status == 200
    job = (await world.call("GET", f"/jobs/{job_id}")).body
    assert (job["run_at"], job["queue_state"]) == (None, 0)


async def test_what_cannot_change_is_a_conflict_and_changes_nothing(world: World) -> None:
    """409 with the job's id; all or none."""
    job_id = await world.submit()
    reply = await world.call("PATCH", f"/jobs/{job_id}", {"priority": 1, "queue_state": "queued"})
    assert (reply.status, reply.body["id"]) == (409, job_id)
    assert (await world.call("GET", f"/jobs/{job_id}")).body["priority"] == 5


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, ""),
        ({"client": "demo"}, ""),
        ({"priority": 0}, "/priority"),
        ({"priority": None}, "/priority"),
        ({"queue_state": "started"}, "/queue_state"),
        ({"queue_state": 2}, "/queue_state"),
        ({"queue_state": True}, "/queue_state"),
        ({"run_at": "never"}, "/run_at"),
        ({"run_at": "0000-00-00"}, "/run_at"),
        ({"semaphore_url": "nowhere"}, "/semaphore_url"),
        ({"semaphore_url": "http://169.254.169.254/"}, "/semaphore_url"),
        ({"persist": 1}, "/persist"),
        ({"priorty": 1}, "/priorty"),
    ],
)
async def test_a_wrong_patch_names_the_field(world: World, body: dict[str, Any], path: str) -> None:
    """400 with the job's id, and nothing changes; of a job that is not there, nothing else is said."""
    job_id = await world.submit()
    reply = await world.call("PATCH", f"/jobs/{job_id}", body)
    assert (reply.status, path in reply.faults, reply.body["id"]) == (400, True, job_id), reply.body
    reply = await world.call("PATCH", f"/jobs/{job_id + 1}", body)
    assert (reply.status, reply.body) == (404, {"error": f"there is no job {job_id + 1}"})


async def test_a_rerun_is_a_new_job_and_breaks_the_old_one(world: World) -> None:
    """The new one names the old one."""
    job_id = await world.submit()
    reply = await world.call("POST", f"/jobs/{job_id}/rerun")
    assert (reply.status, reply.body["result"]) == (200, "accepted")
    assert (await world.call("GET", f"/jobs/{job_id}")).body["queue_state"] == 4
    assert (await world.call("GET", f"/jobs/{reply.body['id']}")).body["rerun_of"] == job_id
    [told, *_] = (await world.call("GET", f"/logs/{reply.body['id']}")).body
    first = json.loads(told["message"])
    assert (first["path"], first["remote_addr"]) == (f"/jobs/{job_id}/rerun", "127.0.0.1")
    assert first["headers"]["api-key"] == f"****{ADMIN_KEY[-4:]}"
    assert (await world.call("POST", f"/job/{job_id}/rerun", {"client": "demo"})).status in {200, 409}
    assert (await world.call("POST", f"/jobs/{job_id}/rerun?from=start")).status == 400


async def test_a_deleted_job_is_broken_once(world: World) -> None:
    """Then it has ended: 409."""
    job_id = await world.submit()
    assert (await world.call("DELETE", f"/jobs/{job_id}")).body == {"id": job_id, "result": "broken"}
    reply = await world.call("DELETE", f"/jobs/{job_id}")
    assert (reply.status, reply.body["id"]) == (409, job_id)


@pytest.mark.parametrize(
    "job_id", ["999", "0", "-1", "abc", "1.0", "01", "9223372036854775808", "9" * 40, "%00", "%ed%a0%80", "\uff11"]
)
async def test_an_unknown_id_is_not_found_whatever_it_is(world: World, job_id: str) -> None:
    """404 for every call of a job or a task."""
    for method, path, body in (
        ("GET", "/jobs/{}", None), ("GET", "/job/{}", None), ("GET", "/jobs/{}/tasks", None),
        ("GET", "/tasks/{}", None), ("GET", "/logs/{}", None), ("GET", "/jobs/{}/callbacks", None),
        ("PATCH", "/jobs/{}", {"priority": 1}), ("POST", "/jobs/{}/rerun", None), ("DELETE", "/jobs/{}", None),
        ("POST", "/jobs/{}/callbacks/1/replay", None),
    ):  # fmt: skip
        assert (await world.call(method, path.format(job_id), body)).status == 404


# ---------------------------------------------------------------------------------------------------------------- tasks


async def test_tasks_are_listed_with_what_they_need(world: World) -> None:
    """And one alone with its outputs."""
    answer = (await world.call("POST", "/job", submission())).body
    tasks = (await world.call("GET", f"/jobs/{answer['id']}/tasks")).body
    assert [(task["name"], task["needs"], task["state"]) for task in tasks] == [
        ("a", [], "blocked"), ("b", ["a"], "blocked"), ("c", ["b"], "blocked")
    ]  # fmt: skip
    await world.tell(answer["id"], Run.start)
    task = (await world.call("GET", f"/tasks/{answer['tasks'][0]['id']}")).body
    assert (task["state"], task["handler"], task["outputs"], task["attempts"]) == ("ready", "debug.noop", {}, [])
    assert (await world.call("GET", f"/jobs/{answer['id']}")).body["queue_state"] == 1


async def test_logs_are_filtered(world: World) -> None:
    """By severity (its number or its name), entry and count."""
    job_id = await world.submit()
    everything = (await world.call("GET", f"/logs/{job_id}?show_all=1")).body
    assert everything
    assert (await world.call("GET", f"/logs/{job_id}?severity=fatal")).body == []
    assert (await world.call("GET", f"/logs/{job_id}?limit=1")).body == everything[:1]
    assert (await world.call("GET", f"/logs/{job_id}?show_all=1&after_id={everything[0]['id']}")).body == everything[1:]
    assert 'rel="next"' not in str((await world.call("GET", f"/logs/{job_id}?limit={len(everything)}")).headers)
    for query in ("severity=5", "severity=x", "limit=0", "after_id=x", "show_all=2", "task_id=x"):
        assert (await world.call("GET", f"/logs/{job_id}?{query}")).status == 400


async def test_callbacks_are_listed_and_replayed(world: World) -> None:
    """A delivery that is not there is a 404."""
    body = submission()
    body["parameters"]["rest_endpoints"] = ["https://user:pass-word@example.com/cb"]
    job_id = (await world.call("POST", "/job", body)).body["id"]
    await world.tell(job_id, fail)
    [callback] = (await world.call("GET", f"/jobs/{job_id}/callbacks")).body
    assert (callback["event"], callback["endpoint"]) == ("job", "https://user:****@example.com/cb")
    assert (await world.call("POST", f"/jobs/{job_id}/callbacks/{callback['id']}/replay")).status == 200
    assert (await world.call("POST", f"/jobs/{job_id}/callbacks/99/replay")).status == 404
