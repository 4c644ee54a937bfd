"""The deliveries of a job's callbacks."""

from __future__ import annotations

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.api.views import callback_object
from taskengine.domain.errors import NotFound


async def list_callbacks(call: Call) -> Answer:
    """Each delivery: endpoint, event, state, attempts, last status."""
    job_id = call.id("job")
    await call.services.jobs.view(call.caller, job_id)
    return Answer([callback_object(row, job_id) for row in await call.services.store.callbacks(job_id)])


async def replay(call: Call) -> Answer:
    """Make a delivery due again, whether it is dead or was delivered."""
    job_id, callback_id = call.id("job"), call.id("callback", "callback_id")
    services = call.services
    await services.jobs.view(call.caller, job_id)
    count = await services.store.replay_callbacks(services.clock.now(), job_id=job_id, callback_id=callback_id)
    if not count and callback_id not in {row["id"] for row in await services.store.callbacks(job_id)}:
        raise NotFound(f"job {job_id} has no callback {callback_id}")
    services.wake_callbacks()
    return Answer({"result": "ok", "replayed": count})
