"""The route table: every call of the API, who may make it, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from taskengine.api import (
    callbacks,
    channels,
    clients,
    events,
    jobs,
    logs,
    schedules,
    settings,
    shapes,
    status,
    workflows,
)
from taskengine.api.answers import ALWAYS, CONTENT_TYPE, to_json
from taskengine.api.call import Access, Body, Call, Route
from taskengine.api.models import (
    ActionFields,
    ClientFields,
    PatchFields,
    RecurringFields,
    ReplayFields,
    SettingFields,
    SubmissionFields,
    SwitchFields,
    TestFields,
)
from taskengine.api.openapi import describe
from taskengine.api.reading import reading_file, reading_page
from taskengine.api.views import CallbackObject, ClientObject, JobObject, LogObject, TaskDetail, TaskObject

JOBS_QUERY = {
    "limit": "at most so many (10; 1000 at the most)",
    "order_by": "id, created_at, updated_at, run_at or priority",
    "asc": "1: ascending",
    "state": "number or name; 7: ended and failed",
    "from": "created at or after this time",
    "to": "created at or before this time",
    "failed": "1: failed ones, 0: the others",
    "search": "a part of the content id, the workflow or the parameters",
    "job_ids": "these alone, with commas between",
    "client": "of this client alone (for admins)",
    "persist": "1: those that are kept, 0: the others",
    "workflow": "of this workflow alone",
    "priority": "of this priority alone",
    "tag": "with this tag alone",
    "after_id": "the page after this job, in the order asked for",
}
OF_CLIENT = {"client": "of this client alone (for admins and operators)"}
DEAD_QUERY = {
    "since": "of events at or after this time",
    "after_id": "the callbacks after this one",
    "limit": "at most so many (1000)",
    **OF_CLIENT,
}
LOGS_QUERY = {
    "show_all": "1: hidden entries too",
    "severity": "number or name",
    "task_id": "of this task alone",
    "after_id": "the entries after this one",
    "limit": "at most so many",
}


_documents: dict[tuple[str, str], bytes] = {}  # the last one, by version and workflows


async def document(call: Call) -> web.StreamResponse:
    """The OpenAPI document of this API, with the parameters of the workflows that everyone has."""
    catalog = call.services.catalog
    loaded = [found for name in catalog.names("") if (found := catalog.get(name, "")) is not None]
    key = call.services.version, " ".join(found.workflow.digest for found in loaded)
    if key not in _documents:
        schemas = {found.workflow.name: dict(found.workflow.schema) for found in loaded}
        _documents.clear()
        _documents[key] = to_json(describe(ROUTES, call.services.version, schemas))
    return web.Response(body=_documents[key], headers={**ALWAYS, "Content-Type": CONTENT_TYPE})


async def page(_: Call) -> web.StreamResponse:
    """The document to read, and to try its calls by."""
    return reading_page()


async def module(call: Call) -> web.StreamResponse:
    """A file of that page."""
    return reading_file(call.name())


_LOOK, _ACT, _ADMIN = Access.LOOK, Access.ACT, Access.ADMIN
_NEEDED, _MAY = Body.REQUIRED, Body.OPTIONAL

ROUTES: Sequence[Route] = (
    Route("GET", "/", status.alive, Access.PUBLIC, published=True, gives=shapes.Alive),
    Route("GET", "/livez", status.alive, Access.PUBLIC, gives=shapes.Alive),
    Route("GET", "/readyz", status.ready, Access.PUBLIC, gives=shapes.Alive, refused={503: "not ready; see Retry-After"}),
    Route("GET", "/openapi.json", document, Access.PUBLIC),
    Route("GET", "/docs", page, Access.PUBLIC, media="text/html"),
    Route("GET", "/docs/{name}", module, Access.PUBLIC, media="text/javascript", refused={404: "there is no such file"}),
    Route("GET", "/channels/{client}/{channel}/{name}", channels.playlist, Access.PUBLIC,
        media="application/vnd.apple.mpegurl",
        refused={404: "there is no such channel, it is stopped or has not begun", 503: "the channel cannot be read"}),
    Route("GET", "/health", status.health, published=True, query=OF_CLIENT, gives=shapes.Health),
    Route("GET", "/metrics", status.metrics, Access.METRICS, media="text/plain"),
    Route("GET", "/dashboard", status.dashboard, published=True, query={"limit": "at most so many of each (1000)", **OF_CLIENT},
        gives=shapes.Dashboard),
    Route("POST", "/job", jobs.submit, _ACT, _NEEDED, published=True, takes=SubmissionFields,
        gives=shapes.Accepted),
    Route("GET", "/jobs", jobs.list_jobs, Access.LIST, published=True, gives=Sequence[JobObject], query=JOBS_QUERY,
        paged=True),
    *(
        route
        for path in ("/jobs/{id}", "/job/{id}")
        for route in (
            Route("GET", path, jobs.view, published=True, gives=JobObject),
            Route("PATCH", path, jobs.update, _ACT, _NEEDED, published=True, takes=PatchFields, gives=shapes.JobResult),
            Route("PUT", path, jobs.update, _ACT, _NEEDED, published=True, takes=PatchFields, gives=shapes.JobResult),
            Route("DELETE", path, jobs.remove, _ACT, _MAY, gives=shapes.JobResult),
            Route("GET", f"{path}/why", jobs.why, gives=shapes.Why),
            Route("GET", f"{path}/events", events.stream_of_job, media="text/event-stream"),
            Route("GET", f"{path}/tasks", jobs.tasks, gives=Sequence[TaskObject]),
            Route(
                "POST", f"{path}/rerun", jobs.rerun, _ACT, _MAY, published=True,
                query={"from": "failed: keep what was completed"}, gives=shapes.Accepted,
            ),
            Route("GET", f"{path}/callbacks", callbacks.list_callbacks, gives=Sequence[CallbackObject]),
            Route("POST", f"{path}/callbacks/{{callback_id}}/replay", callbacks.replay, _ACT, _MAY, gives=shapes.Replayed),
        )
    ),
    Route("GET", "/callbacks", callbacks.list_dead, gives=Sequence[CallbackObject], query=DEAD_QUERY, paged=True),
    Route("POST", "/callbacks/replay", callbacks.replay_dead, _ACT, _NEEDED, names_client=True, takes=ReplayFields,
        gives=shapes.Replayed),
    Route("POST", "/callbacks/test", callbacks.test, _ACT, _NEEDED, names_client=True, takes=TestFields,
        gives=shapes.TestDelivery),
    Route("POST", "/jobs/actions", jobs.act, _ACT, _NEEDED, takes=ActionFields, gives=shapes.ActionResult),
    Route("GET", "/events", events.stream, query=OF_CLIENT, media="text/event-stream"),
    Route("GET", "/tasks/{id}", jobs.task, gives=TaskDetail),
    Route("GET", "/logs/{id}", logs.logs, published=True, gives=Sequence[LogObject], query=LOGS_QUERY, paged=True),
    Route("GET", "/settings", settings.list_settings, query={"client": "of this client (for admins)"},
        gives=shapes.SettingList),
    Route(
        "POST", "/settings", settings.change_setting, _LOOK, _NEEDED, published=True, names_client=True,
        takes=SettingFields, gives=shapes.Message,
    ),
    Route(
        "GET", "/schedules", schedules.list_schedules, published=True, query={"all": "1: those that are not active too"},
        gives=shapes.ScheduleList,
    ),
    Route("POST", "/schedules", schedules.save_schedule, _ACT, _NEEDED, names_client=True, takes=RecurringFields,
        gives=shapes.SavedSchedule),
    Route(
        "DELETE", "/schedules", schedules.remove_schedule, _ACT, _MAY, names_client=True, query={"name": "the schedule"},
        gives=shapes.NamedResult,
    ),
    Route("DELETE", "/schedules/{name}", schedules.remove_schedule, _ACT, _MAY, names_client=True, gives=shapes.NamedResult),
    Route(
        "PUT", "/scheduler", schedules.switch, _ADMIN, _NEEDED, published=True, names_client=True, takes=SwitchFields, gives=shapes.ActiveSchedules
    ),
    Route("GET", "/workers", status.workers, gives=Sequence[shapes.WorkerObject]),
    Route("GET", "/workflows", workflows.list_workflows, gives=Sequence[shapes.WorkflowSummary]),
    Route("GET", "/workflows/{name}", workflows.view, gives=shapes.WorkflowDetail),
    Route("GET", "/clients", clients.list_clients, _ADMIN, gives=Sequence[ClientObject]),
    Route("POST", "/clients", clients.save_client, _ADMIN, _NEEDED, takes=ClientFields, gives=shapes.NamedResult),
    Route("DELETE", "/clients", clients.remove_client, _ADMIN, _MAY, query={"name": "the client"}, gives=shapes.NamedResult),
    Route("DELETE", "/clients/{name}", clients.remove_client, _ADMIN, _MAY, gives=shapes.NamedResult),
    Route("POST", "/clients/{name}/keys", clients.add_key, _ADMIN, _MAY, gives=shapes.NamedResult),
    Route("DELETE", "/clients/{name}/keys/{key_id}", clients.revoke_key, _ADMIN, _MAY, gives=shapes.NamedResult),
)  # fmt: skip
