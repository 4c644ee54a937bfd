"""The calls of the API, one method each, with the types that the OpenAPI document is made from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from taskengine.client.events import Happening, read_events
from taskengine.client.transport import Transport, transport
from taskengine.domain.errors import EngineUnreachable

if TYPE_CHECKING:
    from taskengine.api import shapes
    from taskengine.api.views import CallbackObject, ClientObject, JobObject, LogObject, TaskDetail, TaskObject

Query = Mapping[str, str]
_PAUSE_S = 1.0  # before a stream that broke off is taken up again
_LOG_PAGE = 1000


class Client:
    """A client of a running engine. Made by `connect`.

    Every call raises the errors of `taskengine.domain.errors` (NotFound, Conflict, InvalidRequest with its faults, …), and
    EngineUnreachable where nothing answers.
    """

    def __init__(self, calls: Transport) -> None:
        self._calls = calls
        self.url = calls.url

    async def _every(self, path: str, query: Query) -> AsyncIterator[Any]:
        """What a list has, page by page."""
        following: Query | None = query
        while following is not None:
            page, following = await self._calls.page(path, following)
            for one in page:
                yield one

    # ------------------------------------------------------------------------------------------------- jobs

    async def submit(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> shapes.Accepted:
        """Submit a job; the answer with its id and the ids of its tasks."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return cast("shapes.Accepted", await self._calls.call("POST", "/job", body=body, headers=headers))

    async def jobs(self, query: Query | None = None) -> list[JobObject]:
        """A page of jobs; the names of `query` are those of `GET /jobs`."""
        return cast("list[JobObject]", await self._calls.call("GET", "/jobs", query=query))

    async def every_job(self, query: Query | None = None) -> AsyncIterator[JobObject]:
        """All the jobs that the query finds, page by page."""
        async for job in self._every("/jobs", {"limit": "100", **(query or {})}):
            yield job

    async def job(self, job_id: int) -> JobObject:
        """One job."""
        return cast("JobObject", await self._calls.call("GET", f"/jobs/{job_id}"))

    async def tasks(self, job_id: int) -> list[TaskObject]:
        """A job's tasks, each with its attempts."""
        return cast("list[TaskObject]", await self._calls.call("GET", f"/jobs/{job_id}/tasks"))

    async def task(self, task_id: int) -> TaskDetail:
        """One task with its attempts and outputs."""
        return cast("TaskDetail", await self._calls.call("GET", f"/tasks/{task_id}"))

    async def logs(self, job_id: int, query: Query | None = None) -> list[LogObject]:
        """A page of a job's log, oldest first."""
        return cast("list[LogObject]", await self._calls.call("GET", f"/logs/{job_id}", query=query))

    async def every_log(self, job_id: int, query: Query | None = None) -> list[LogObject]:
        """A job's whole log."""
        return [entry async for entry in self._every(f"/logs/{job_id}", {"limit": str(_LOG_PAGE), **(query or {})})]

    async def why(self, job_id: int) -> shapes.Why:
        """Why a job waits, or what it is at."""
        return cast("shapes.Why", await self._calls.call("GET", f"/jobs/{job_id}/why"))

    async def update(self, job_id: int, fields: Mapping[str, Any]) -> shapes.JobResult:
        """Change a job: queue_state (`paused`, `queued`, `broken`), priority, run_at …, all or none."""
        return cast("shapes.JobResult", await self._calls.call("PATCH", f"/jobs/{job_id}", body=fields))

    async def rerun(self, job_id: int, *, from_failed: bool = False) -> shapes.Accepted:
        """Run a job again as a new one."""
        query = {"from": "failed"} if from_failed else None
        return cast("shapes.Accepted", await self._calls.call("POST", f"/jobs/{job_id}/rerun", query=query))

    async def remove(self, job_id: int) -> shapes.JobResult:
        """End a job as broken."""
        return cast("shapes.JobResult", await self._calls.call("DELETE", f"/jobs/{job_id}"))

    async def act(
        self, action: str, jobs: Mapping[str, Any], *, value: Any = None, dry_run: bool = False
    ) -> shapes.ActionResult:
        """Do one thing to all jobs that the conditions find."""
        body = {"action": action, "filter": jobs, "dry_run": dry_run} | ({} if value is None else {"value": value})
        return cast("shapes.ActionResult", await self._calls.call("POST", "/jobs/actions", body=body))

    # ----------------------------------------------------------------------------------------------- events

    async def events(
        self, job_id: int | None = None, *, last_event_id: str | None = None, patience_s: float = 30.0
    ) -> AsyncIterator[Happening]:
        """What happens to the client's jobs from now on; of one job, all that has happened and happens, to its end.

        A stream that breaks off is taken up where it did, for at most `patience_s` without an answer: then
        EngineUnreachable.
        """
        path = "/events" if job_id is None else f"/jobs/{job_id}/events"
        heard = time.monotonic()
        while True:
            try:
                async with self._calls.stream(path, last_event_id) as stream:
                    if stream is None:
                        return
                    async for happening in read_events(stream):
                        heard, last_event_id = time.monotonic(), happening.id or last_event_id
                        yield happening
            except EngineUnreachable:
                if time.monotonic() - heard > patience_s:
                    raise
            await asyncio.sleep(_PAUSE_S)

    # --------------------------------------------------------------------------------------------- callbacks

    async def callbacks(self, job_id: int) -> list[CallbackObject]:
        """Every delivery of a job's callbacks."""
        return cast("list[CallbackObject]", await self._calls.call("GET", f"/jobs/{job_id}/callbacks"))

    async def replay_callback(self, job_id: int, callback_id: int) -> shapes.Replayed:
        """Make a callback due again."""
        path = f"/jobs/{job_id}/callbacks/{callback_id}/replay"
        return cast("shapes.Replayed", await self._calls.call("POST", path))

    async def dead_callbacks(self, query: Query | None = None) -> list[CallbackObject]:
        """A page of the callbacks that were given up (`since`, `after_id`, `limit`, `client`)."""
        return cast("list[CallbackObject]", await self._calls.call("GET", "/callbacks", query=query))

    async def every_dead_callback(self, query: Query | None = None) -> list[CallbackObject]:
        """All of them, page by page."""
        return [callback async for callback in self._every("/callbacks", query or {})]

    async def replay_callbacks(self, since: str) -> shapes.Replayed:
        """Make all callbacks due again that were given up, of events at or after a time."""
        return cast("shapes.Replayed", await self._calls.call("POST", "/callbacks/replay", body={"since": since}))

    async def test_callback(self, url: str) -> shapes.TestDelivery:
        """Have a test delivery sent to an endpoint; what it answered."""
        return cast("shapes.TestDelivery", await self._calls.call("POST", "/callbacks/test", body={"url": url}))

    # ------------------------------------------------------------------------------------------------ engine

    async def health(self) -> shapes.Health:
        """The engine's health; where a component is down too (the body then has `error`)."""
        return cast("shapes.Health", await self._calls.call("GET", "/health", accept=(500,)))

    async def ready(self) -> bool:
        """Whether the engine takes calls."""
        answer = await self._calls.call("GET", "/readyz", accept=(503,))
        return "error" not in answer

    async def dashboard(self, limit: int | None = None) -> shapes.Dashboard:
        """What runs and what waits."""
        query = None if limit is None else {"limit": str(limit)}
        return cast("shapes.Dashboard", await self._calls.call("GET", "/dashboard", query=query))

    async def metrics(self) -> str:
        """Prometheus' text."""
        return await self._calls.text("/metrics")

    async def document(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return cast("dict[str, Any]", await self._calls.call("GET", "/openapi.json"))

    async def workers(self) -> list[shapes.WorkerObject]:
        """Every worker that was heard of lately."""
        return cast("list[shapes.WorkerObject]", await self._calls.call("GET", "/workers"))

    async def workflows(self) -> list[shapes.WorkflowSummary]:
        """The workflows that the client may submit."""
        return cast("list[shapes.WorkflowSummary]", await self._calls.call("GET", "/workflows"))

    async def workflow(self, name: str) -> shapes.WorkflowDetail:
        """One workflow with its definition."""
        return cast("shapes.WorkflowDetail", await self._calls.call("GET", f"/workflows/{_part(name)}"))

    # ---------------------------------------------------------------------------------- settings, schedules

    async def settings(self, client: str | None = None) -> shapes.SettingList:
        """The settings as they hold (for admins: of a client)."""
        query = None if client is None else {"client": client}
        return cast("shapes.SettingList", await self._calls.call("GET", "/settings", query=query))

    async def save_setting(self, name: str, setting: str | float, client: str | None = None) -> shapes.Message:
        """Set a setting: an admin's of the system or of a client, another client's of its own."""
        body = {"name": name, "setting": setting} | ({} if client is None else {"client": client})
        return cast("shapes.Message", await self._calls.call("POST", "/settings", body=body))

    async def schedules(self, *, everyone: bool = False) -> shapes.ScheduleList:
        """The active schedules; `everyone`: those that are not, too."""
        query = {"all": "1"} if everyone else None
        return cast("shapes.ScheduleList", await self._calls.call("GET", "/schedules", query=query))

    async def save_schedule(self, fields: Mapping[str, Any]) -> shapes.SavedSchedule:
        """Submit a job at each time of a pattern: name, cron, time_zone, job, parameters."""
        return cast("shapes.SavedSchedule", await self._calls.call("POST", "/schedules", body=fields))

    async def remove_schedule(self, name: str) -> shapes.NamedResult:
        """Submit no more jobs by it."""
        return cast("shapes.NamedResult", await self._calls.call("DELETE", "/schedules", query={"name": name}))

    async def switch_schedule(self, name: str, *, active: bool) -> shapes.ActiveSchedules:
        """Switch a schedule, or a duty of the engine, on or off."""
        body = {"schedule": name, "active": active}
        return cast("shapes.ActiveSchedules", await self._calls.call("PUT", "/scheduler", body=body))

    # ----------------------------------------------------------------------------------------------- clients

    async def clients(self) -> Sequence[ClientObject]:
        """All clients with their keys (for admins)."""
        return cast("list[ClientObject]", await self._calls.call("GET", "/clients"))

    async def save_client(
        self, name: str, *, role: str | None = None, config: Mapping[str, Any] | None = None
    ) -> shapes.NamedResult:
        """Make a client (its first key is in the answer), or change what is given of one."""
        given = {"role": role, "config": config}
        body = {"name": name} | {field: value for field, value in given.items() if value is not None}
        return cast("shapes.NamedResult", await self._calls.call("POST", "/clients", body=body))

    async def remove_client(self, name: str) -> shapes.NamedResult:
        """Remove a client with its keys and settings."""
        return cast("shapes.NamedResult", await self._calls.call("DELETE", f"/clients/{_part(name)}"))

    async def add_key(self, client: str) -> shapes.NamedResult:
        """One more key of a client, in the answer."""
        return cast("shapes.NamedResult", await self._calls.call("POST", f"/clients/{_part(client)}/keys"))

    async def revoke_key(self, client: str, key_id: int) -> shapes.NamedResult:
        """Let a key open nothing any more."""
        return cast("shapes.NamedResult", await self._calls.call("DELETE", f"/clients/{_part(client)}/keys/{key_id}"))


def _part(name: str) -> str:
    return quote(name, safe="")


@asynccontextmanager
async def connect(url: str, *, client: str, api_key: str | None) -> AsyncIterator[Client]:
    """A client of the engine at `url`, with these credentials on every call."""
    async with transport(url, client=client, api_key=api_key) as calls:
        yield Client(calls)
