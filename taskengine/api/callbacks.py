"""The deliveries of callbacks: a job's, those given up, and test deliveries."""

from __future__ import annotations

from taskengine.api.answers import Answer
from taskengine.api.body import MAX_INTEGER
from taskengine.api.call import Call
from taskengine.api.fields import whole
from taskengine.api.models import ReplayFields, TestFields, read
from taskengine.api.queries import MAX_LIMIT, Query, read_limit, read_time
from taskengine.api.views import callback_object
from taskengine.domain.errors import NotFound


async def list_callbacks(call: Call) -> Answer:
    """Each delivery: endpoint, event, state, attempts, last status."""
    job_id = call.id("job")
    await call.services.views.view(call.caller, job_id)
    return Answer([callback_object(row, job_id) for row in await call.services.store.callbacks(job_id)])


async def list_dead(call: Call) -> Answer:
    """What was given up, in order, a page at a time."""
    query = Query(call.request.query.items())
    since, after = query.read("since", read_time), query.read("after_id", whole(0, MAX_INTEGER))
    limit = query.read("limit", read_limit(MAX_LIMIT)) or MAX_LIMIT
    client = query.read("client", str)
    query.check()
    rows = await call.services.store.dead_callbacks(
        client=call.whose(client), since=since, after_id=after or 0, limit=limit + 1
    )
    headers = call.next_page(rows[limit - 1]["id"]) if len(rows) > limit else {}
    return Answer([callback_object(row, row["job_id"]) for row in rows[:limit]], headers=headers)


async def replay(call: Call) -> Answer:
    """Make a delivery due again, whether it is dead or was delivered."""
    job_id, callback_id = call.id("job"), call.id("callback", "callback_id")
    services = call.services
    await services.views.view(call.caller, job_id)
    again = await services.store.replay_callbacks(services.clock.now(), job_id=job_id, callback_id=callback_id)
    if not again and callback_id not in {row["id"] for row in await services.store.callbacks(job_id)}:
        raise NotFound(f"job {job_id} has no callback {callback_id}")
    services.wake_callbacks()
    return Answer({"result": "ok", "replayed": len(again)})


async def replay_dead(call: Call) -> Answer:
    """Make all deliveries due again that were given up, of events since a time."""
    asked = read(ReplayFields, call.fields)
    count = await call.services.desk.replay(since=asked.since, client=call.whose(asked.client))
    return Answer({"result": "ok", "replayed": count})


async def test(call: Call) -> Answer:
    """Send a test delivery to an endpoint, and tell what it answered."""
    asked = read(TestFields, call.fields)
    tried = await call.services.desk.test(call.whose(asked.client) or call.caller.client, asked.url)
    return Answer({
        "result": "delivered" if tried.delivered else "failed", "status": tried.status, "error": tried.error,
        "seconds": tried.seconds,
    })  # fmt: skip
