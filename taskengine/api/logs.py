"""The log of a job."""

from __future__ import annotations

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.api.queries import read_logs_query
from taskengine.api.views import log_object


async def logs(call: Call) -> Answer:
    """A job's log, in order, a page at a time."""
    job_id = call.id("job")
    limit, conditions = read_logs_query(call.request)
    await call.services.views.view(call.caller, job_id)
    rows = await call.services.store.logs(job_id, **conditions, limit=limit + 1)
    headers = call.next_page(rows[limit - 1]["id"]) if len(rows) > limit else {}
    return Answer([log_object(row) for row in rows[:limit]], headers=headers)
