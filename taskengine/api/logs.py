"""The log of a job."""

from __future__ import annotations

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.api.queries import read_logs_query
from taskengine.api.views import log_object


async def logs(call: Call) -> Answer:
    """A job's log, in order."""
    job_id = call.id("job")
    arguments = read_logs_query(call.request)
    await call.services.jobs.view(call.caller, job_id)
    return Answer([log_object(row) for row in await call.services.store.logs(job_id, **arguments)])
