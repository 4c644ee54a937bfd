"""The route table: every call of the API, who may make it, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.api import callbacks, clients, jobs, logs, settings, status, workflows
from taskengine.api.answers import Answer
from taskengine.api.call import Access, Body, Call, Route
from taskengine.api.models import ClientFields, PatchFields, SettingFields, SubmissionFields
from taskengine.api.openapi import describe
from taskengine.api.views import CallbackObject, ClientObject, JobObject, LogObject, TaskDetail, TaskObject

Rows = Sequence[Mapping[str, Any]]

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
LOGS_QUERY = {
    "show_all": "1: hidden entries too",
    "severity": "number or name",
    "task_id": "of this task alone",
    "after_id": "the entries after this one",
    "limit": "at most so many",
}


async def document(call: Call) -> Answer:
    """The OpenAPI document of this API, with the parameters of the workflows that everyone has."""
    catalog = call.services.catalog
    loaded = {name: catalog.get(name, "") for name in catalog.names("")}
    schemas = {name: dict(found.workflow.schema) for name, found in loaded.items() if found is not None}
    return Answer(describe(ROUTES, call.services.version, schemas))


_LOOK, _ACT, _ADMIN = Access.LOOK, Access.ACT, Access.ADMIN
_NEEDED, _MAY = Body.REQUIRED, Body.OPTIONAL

ROUTES: Sequence[Route] = (
    Route("GET", "/", status.alive, Access.PUBLIC, published=True),
    Route("GET", "/livez", status.alive, Access.PUBLIC),
    Route("GET", "/readyz", status.ready, Access.PUBLIC),
    Route("GET", "/openapi.json", document, Access.PUBLIC),
    Route("GET", "/health", status.health, published=True),
    Route("GET", "/dashboard", status.dashboard, published=True, query={"limit": "at most so many of each (1000)"}),
    Route("POST", "/job", jobs.submit, _ACT, _NEEDED, published=True, takes=SubmissionFields),
    Route("GET", "/jobs", jobs.list_jobs, Access.LIST, published=True, gives=Sequence[JobObject], query=JOBS_QUERY),
    *(
        route
        for path in ("/jobs/{id}", "/job/{id}")
        for route in (
            Route("GET", path, jobs.view, published=True, gives=JobObject),
            Route("PATCH", path, jobs.update, _ACT, _NEEDED, published=True, takes=PatchFields),
            Route("PUT", path, jobs.update, _ACT, _NEEDED, published=True, takes=PatchFields),
            Route("DELETE", path, jobs.remove, _ACT, _MAY),
            Route("GET", f"{path}/tasks", jobs.tasks, gives=Sequence[TaskObject]),
            Route(
                "POST", f"{path}/rerun", jobs.rerun, _ACT, _MAY, published=True,
                query={"from": "failed: keep what was completed"},
            ),
            Route("GET", f"{path}/callbacks", callbacks.list_callbacks, gives=Sequence[CallbackObject]),
            Route("POST", f"{path}/callbacks/{{callback_id}}/replay", callbacks.replay, _ACT, _MAY),
        )
    ),
    Route("GET", "/tasks/{id}", jobs.task, gives=TaskDetail),
    Route("GET", "/logs/{id}", logs.logs, published=True, gives=Sequence[LogObject], query=LOGS_QUERY),
    Route("GET", "/settings", settings.list_settings, query={"client": "of this client (for admins)"}),
    Route(
        "POST", "/settings", settings.change_setting, _LOOK, _NEEDED, published=True, names_client=True,
        takes=SettingFields,
    ),
    Route("GET", "/schedules", status.schedules, published=True, query={"all": "1: those that are not active too"}),
    Route("GET", "/workers", status.workers, gives=Rows),
    Route("GET", "/workflows", workflows.list_workflows, gives=Rows),
    Route("GET", "/workflows/{name}", workflows.view),
    Route("GET", "/clients", clients.list_clients, _ADMIN, gives=Sequence[ClientObject]),
    Route("POST", "/clients", clients.save_client, _ADMIN, _NEEDED, takes=ClientFields),
    Route("DELETE", "/clients", clients.remove_client, _ADMIN, _MAY, query={"name": "the client"}),
    Route("DELETE", "/clients/{name}", clients.remove_client, _ADMIN, _MAY),
    Route("POST", "/clients/{name}/keys", clients.add_key, _ADMIN, _MAY),
    Route("DELETE", "/clients/{name}/keys/{key_id}", clients.revoke_key, _ADMIN, _MAY),
)  # fmt: skip
