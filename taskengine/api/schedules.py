"""Schedules: the engine's recurring duties, and those of clients, which submit a job at each of their times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.api.faults import invalid
from taskengine.api.models import RecurringFields, SwitchFields, judge, read, unknown_fields
from taskengine.api.queries import read_all
from taskengine.api.services import Services
from taskengine.api.submission import Asked, Origin, answer, check
from taskengine.api.views import moment
from taskengine.domain.errors import Fault, Forbidden, NotFound, Unauthorized
from taskengine.domain.tenants import Caller, ClientConfig, Role
from taskengine.engine.duties import DUTIES
from taskengine.engine.recurrence import next_time, zone
from taskengine.engine.recurring import Submit, Submitted
from taskengine.ports import Recurring

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KIND = "RecurringJob"


# ----------------------------------------------------------------------------------------------------------------- look


async def list_schedules(call: Call) -> Answer:
    """The engine's recurring duties and the caller's schedules; an admin's and an operator's list has all clients'."""
    every = read_all(call.request)
    shown = {
        schedule.name: {
            "class": schedule.kind,
            "every": [_seconds(schedule.every_s), {"first_in": _seconds(schedule.first_in_s)}],
            "queue": schedule.queue,
            "description": schedule.description,
            "active": schedule.active,
            "last_run": moment(schedule.last_run),
        }
        for schedule in await call.services.schedules()
        if every or schedule.active
    }
    now = call.services.clock.now()
    for one in await call.services.recurring.all():
        if (every or one.active) and (call.caller.sees_all or one.client == call.caller.client):
            shown[_shown_name(one, call.caller)] = _shown(one, now)
    return Answer({"result": "ok", "schedules": shown})


def _seconds(value: float) -> float:
    """Whole seconds as a whole number, as the original has them."""
    return int(value) if value == int(value) else value


def _shown_name(one: Recurring, caller: Caller) -> str:
    """A name of one's own, or `<client>/<name>`."""
    return one.name if one.client == caller.client else f"{one.client}/{one.name}"


def _shown(one: Recurring, now: int) -> dict[str, Any]:
    try:
        after = None if one.next_at is None else next_time(one.cron, one.time_zone, one.next_at)
    except ValueError:  # kept by an engine that knew another pattern, or more zones
        after = None
    every_s = (after - one.next_at) // 1000 if after and one.next_at else 0
    first_in_s = max(one.next_at - now, 0) / 1000 if one.next_at else 0
    return {
        "class": _KIND,
        "every": [every_s, {"first_in": round(first_in_s)}],
        "queue": "scheduler",
        "description": f"Submit a job of the workflow {one.body['job'].get('workflow')} at {one.cron} ({one.time_zone}).",
        "active": one.active,
        "last_run": moment(one.last_at),
        "client": one.client,
        "cron": one.cron,
        "time_zone": one.time_zone,
        "next_run": moment(one.next_at) if one.active else None,
        "last_job_id": one.last_job_id,
        "last_error": one.last_error,
    }


# --------------------------------------------------------------------------------------------------------------- change


async def save_schedule(call: Call) -> Answer:
    """Submit a job at each time of a pattern of cron from now on; a schedule of the same name is replaced."""
    asked, faults = judge(RecurringFields, call.fields, "")
    faults += unknown_fields(RecurringFields, call.fields, "")
    if asked is None:
        raise invalid(*faults)
    client = _client(call, asked.client)
    if not _NAME.fullmatch(asked.name):
        faults.append(Fault("/name", "must be letters, digits, dots, dashes and underlines, at most 100"))
    elif asked.name in DUTIES:
        faults.append(Fault("/name", "is the name of a duty of the engine"))
    faults += _time_faults(asked.cron, asked.time_zone)
    if asked.job.get("run_at") is not None:
        faults.append(Fault("/job/run_at", "has no place here: the schedule says when"))
    body = {"job": asked.job, "parameters": asked.parameters}
    caller, config = await _owner(call, client)
    await check(call.services, Asked(caller, config, _tagged(asked.name, body), None, Origin("/schedules")), faults)
    recurring = Recurring(client, asked.name, asked.cron, asked.time_zone, body, asked.active, None, 0)
    kept, new = await call.services.recurring.save(recurring)
    next_run = moment(kept.next_at) if kept.active else None
    return Answer({"result": "created" if new else "updated", "name": kept.name, "next_run": next_run})


async def _owner(call: Call, client: str) -> tuple[Caller, ClientConfig]:
    try:
        caller = await call.services.tenants.known(client)
    except Unauthorized:
        raise invalid(Fault("/client", f"there is no client {client[:100]!r}")) from None
    return caller, await call.services.tenants.config(client)


def _time_faults(cron: str, time_zone: str) -> list[Fault]:
    faults: list[Fault] = []
    try:
        zone(time_zone)
    except ValueError as error:
        faults.append(Fault("/time_zone", str(error)))
        time_zone = "UTC"  # the pattern is judged all the same
    try:
        found = next_time(cron, time_zone, 0)
    except ValueError as error:
        return [*faults, Fault("/cron", str(error))]
    return faults if found is not None else [*faults, Fault("/cron", "has no time")]


async def remove_schedule(call: Call) -> Answer:
    """Remove a schedule; the jobs that it submitted stay."""
    named = call.request.match_info.get("name") or call.request.query.get("name") or call.fields.get("name")
    if not isinstance(named, str):
        raise invalid(Fault("/name", "is required"))
    given = call.fields.get("client")
    client, name = _split(call, named, given if isinstance(given, str) else None)
    await call.services.recurring.remove(client, name)
    return Answer({"result": "removed", "name": named})


async def switch(call: Call) -> Answer:
    """Switch a schedule on or off: a duty of the engines, or a client's."""
    asked = read(SwitchFields, call.fields)
    if asked.schedule in DUTIES:
        await call.services.duties.switch(asked.schedule, active=asked.active)
    else:
        client, name = _split(call, asked.schedule, asked.client)
        try:
            await call.services.recurring.switch(client, name, active=asked.active)
        except NotFound:
            await call.services.duties.switch(asked.schedule, active=asked.active)  # names the nearest
    names = [schedule.name for schedule in await call.services.schedules() if schedule.active]
    names += [_shown_name(one, call.caller) for one in await call.services.recurring.all() if one.active]
    return Answer({"result": "ok", "schedules": names})


def _split(call: Call, name: str, client: str | None) -> tuple[str, str]:
    """(client, name) of a name as the list has it."""
    before, slash, after = name.partition("/")
    return (_client(call, before), after) if slash else (_client(call, client), name)


def _client(call: Call, named: str | None) -> str:
    if named not in {None, call.caller.client} and call.caller.role is not Role.ADMIN:
        raise Forbidden("Only an admin may change the schedules of another client")
    return named or call.caller.client


# --------------------------------------------------------------------------------------------------------------- submit


def submit_recurring(services: Services) -> Submit:
    """How a schedule's job is submitted: as `POST /job` by its client."""

    async def submit(one: Recurring, key: str) -> Submitted:
        given = await answer(services, one.client, _tagged(one.name, one.body), key, Origin(f"/schedules/{one.name}"))
        if given.status == 200:
            return Submitted(int(given.body["id"]))
        return Submitted(error=str(given.body["error"]), again=given.status == 503)

    return submit


def _tagged(name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body, its job tagged with the schedule's name; tags that are no list are left to be judged."""
    tags = body["job"].get("tags") or []
    tagged = [*tags, f"schedule:{name}"[:100]] if isinstance(tags, list) else tags
    return {**body, "job": {**body["job"], "tags": tagged}}
