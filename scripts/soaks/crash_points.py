"""`soak crash-points`: the process is killed before and after each state write and each publish of the code."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import aiormq

from scripts.soaks.servers import Options, Servers
from tests.support.cluster import HEADERS, Cluster, Process
from tests.support.crashing import points
from tests.support.outsider import DIRECT_REPLY, Outsider
from tests.support.receiver import CallbackReceiver

_MODULE = "tests.support.crashing"
_REACHED_S = 6.0  # for a process to come to its point, after all that is done by hand
_ENDED_S = 90.0
_ANSWER_S = 5.0
_OF_WORKERS = "reporter."
_OF_AN_ENGINE_ALONE = "store.release_claims"  # what is claimed is nobody else's only where there is nobody else
_OF_THE_MINUTE = "store.move_recurring"
_MINUTE_S = 65.0  # until a schedule of every minute has come round


async def run_crash_points(running: Cluster, chosen: Sequence[str], seed: int) -> list[str]:
    """On an empty cluster: kill its one engine, or its one worker, at each of these points while a few jobs run, start it
    again and see the jobs end; the oracle judges at the end. The points that were reached."""
    chance = random.Random(seed)
    running.module = _MODULE
    await running.engine().start()
    await running.worker().start()
    reached = []
    for point in chosen:
        if await _reached(running, point, chance.randint(1, 2)):
            reached.append(point)
        print(f"{'killed' if point in reached else 'not reached'}: {point}", flush=True)
        await running.finished(_ENDED_S)
    await running.ends_well()
    return reached


async def _reached(running: Cluster, point: str, on: int) -> bool:
    if _OF_AN_ENGINE_ALONE in point:
        return await _alone(running, point)
    if _OF_THE_MINUTE in point:
        return await _by_the_minute(running, point)
    victim = (running.workers if _OF_WORKERS in point else running.engines)[0]
    return await _crashed(running, victim, point, on) or (on > 1 and await _crashed(running, victim, point, 1))


async def _alone(running: Cluster, point: str) -> bool:
    """An engine with everything in one process: killed while a callback is under way, and at the point as it starts; the
    callback is sent again at once by the one that starts after it. Whether the point was reached."""
    root = running.root / "alone"
    environment = {
        **running.environment, "TASKENGINE_DATABASE_URL": f"sqlite:///{root}.db", "TASKENGINE_BROKER_URL": "memory://",
        "TASKENGINE_DATA_DIR": str(root), "TASKENGINE_WORKSPACE": str(root / "workspace"),
    }  # fmt: skip
    engine = Process("alone", [_MODULE, "serve"], environment, running.root / "alone.log")
    try:
        async with CallbackReceiver() as receiver:
            await engine.start()
            parameters = {"content_id": "test", "x": 0, "rest_endpoints": [receiver.script("/cb", receiver.hang, 200)]}
            body = {"job": {"workflow": "chain"}, "parameters": parameters}
            async with running.http.post(engine.url + "/job", json=body) as answer:
                assert answer.status == 200, await answer.text()
            await receiver.wait_for(1, _ENDED_S)
            await engine.kill()
            engine.environment.update(CRASH_AT=point, CRASH_ON="1")
            with suppress(AssertionError):  # killed before it was ready
                await engine.start()
            if engine.alive:
                return False
            del engine.environment["CRASH_AT"]
            await engine.start()
            await receiver.wait_for(lambda: any("status" in one.body for one in receiver.received), _ENDED_S)
            assert await engine.stop() == 0
            return True
    finally:
        await engine.kill()
        shutil.rmtree(root)


async def _by_the_minute(running: Cluster, point: str) -> bool:
    """The engine is killed as it notes that a schedule has submitted its job; whether it was."""
    parameters = {"content_id": "test", "x": 0, "rest_endpoints": [f"{running.receiver.url}/cb"]}
    minutely = {"name": "minutely", "cron": "* * * * *", "job": {"workflow": "chain"}, "parameters": parameters}
    await _insist(running, "POST", "/schedules", minutely)
    fell = await _crashed(running, running.engines[0], point, 1, _MINUTE_S)
    await _insist(running, "DELETE", "/schedules", {"name": "minutely"})
    jobs = await _insist(running, "GET", "/jobs?limit=1000", None)
    submitted = {int(job["id"]) for job in jobs} - set(running.accepted)
    running.accepted.extend(sorted(submitted))
    return fell


async def _crashed(running: Cluster, victim: Process, point: str, on: int, patience_s: float = _REACHED_S) -> bool:
    """Run the victim with a trap until it falls into it, then without; whether it did."""
    await victim.kill()
    victim.environment.update(CRASH_AT=point, CRASH_ON=str(on))
    try:
        await victim.start()
    except AssertionError:  # killed before it was ready
        if victim.alive:
            raise
    acting, ended = asyncio.create_task(_act(running)), asyncio.create_task(victim.ended())
    await asyncio.wait({acting, ended}, return_when=asyncio.FIRST_COMPLETED)  # however slow the machine is
    try:
        await asyncio.wait_for(ended, patience_s)
    except TimeoutError:
        fell = await victim.stop() == -signal.SIGKILL  # some points come in the order of an end alone
    else:
        fell = True
    del victim.environment["CRASH_AT"]
    await victim.start()
    await acting
    return fell


async def _act(running: Cluster) -> None:
    """Jobs that go every way: straight, fanned out, tried again, failed, paused, broken, run again."""
    five = await running.submit(x=0.05)
    await _by_message(running)
    await running.submit("sleeps", 2.5)  # long enough for its progress to be written
    await running.submit("flaky", 1)
    await running.submit("fails")
    await running.submit("fan")
    await running.submit(x=0.05, further=[running.gone()])
    slow = await running.submit("sleeps", 0.5)
    paused = await running.submit("chain")
    await _insist(running, "PUT", f"/jobs/{paused}", {"queue_state": "paused"})
    await _insist(running, "PUT", f"/jobs/{paused}", {"queue_state": "queued"})
    await _insist(running, "PUT", f"/jobs/{slow}", {"queue_state": "broken"})
    await _rerun(running, five)
    await _administer(running, five)


async def _administer(running: Cluster, job_id: int) -> None:
    """Clients, keys, settings and schedules come and go; a callback is told again."""
    await _insist(running, "POST", "/clients", {"name": "passing"})
    made = await _insist(running, "POST", "/clients/passing/keys", None)
    if made is not None:
        await _insist(running, "DELETE", f"/clients/passing/keys/{made['key_id']}", None)
    await _insist(running, "DELETE", "/clients/passing", None)
    await _insist(running, "POST", "/settings", {"name": "retention_days", "setting": 30})
    monthly = {"name": "monthly", "cron": "0 0 1 * *", "job": {"workflow": "chain"}, "parameters": {"content_id": "c"}}
    await _insist(running, "POST", "/schedules", monthly)
    await _insist(running, "PUT", "/scheduler", {"schedule": "monthly", "active": False})
    await _insist(running, "DELETE", "/schedules", {"name": "monthly"})
    told = min(running.told(), default=job_id)  # one whose callbacks were delivered, as soon as there is one
    for delivery in (await _insist(running, "GET", f"/jobs/{told}/callbacks", None) or [])[:1]:
        await _insist(running, "POST", f"/jobs/{told}/callbacks/{delivery['id']}/replay", None)


async def _rerun(running: Cluster, job_id: int) -> None:
    """A rerun whose answer was lost may be made twice: those that the old one has are known afterwards from the store."""
    answer = await _insist(running, "POST", f"/jobs/{job_id}/rerun", None)
    if answer is not None:
        running.accepted.append(int(answer["id"]))


async def _insist(running: Cluster, method: str, path: str, body: object) -> Any:
    """Call until it is answered; None where it was refused (the job is further on by now)."""
    async with asyncio.timeout(_ENDED_S):
        while True:
            status, answer = await running.call(method, path, body)
            if status < 500:
                return answer if status < 300 else None
            await asyncio.sleep(0.05)


async def _by_message(running: Cluster) -> None:
    """Submit over the bus and wait for the answer; where it does not come, ask again by the same name."""
    server, _, query = running.environment["TASKENGINE_BROKER_URL"].partition("?")
    prefix = dict(parse_qsl(query))["prefix"]
    parameters = {"content_id": "test", "x": 0, "rest_endpoints": [f"{running.receiver.url}/cb"]}
    body, name = {"v": 1, "job": {"workflow": "chain"}, "parameters": parameters}, uuid.uuid4().hex
    async with asyncio.timeout(_ENDED_S), aiormq.connect(server) as connection:
        channel = await connection.channel()
        assert isinstance(channel, aiormq.Channel)
        other = Outsider(channel, prefix)
        await channel.basic_consume(DIRECT_REPLY, other.hear, no_ack=True)
        while True:
            try:
                answer = await other.ask(body, name, headers=HEADERS, patience_s=_ANSWER_S)
            except TimeoutError:
                continue
            if answer["status"] == 200:
                running.accepted.append(int(answer["id"]))
                return


async def soak_crash_points(servers: Servers, options: Options) -> Mapping[str, object]:
    """One engine and one worker, killed before and after every state write and publish that the code has."""
    every = points()
    async with servers.cluster(engines=0, workers=0) as running:
        reached = await run_crash_points(running, every, options.seed)
    return {"points": len(every), "killed": len(reached), "not_reached": sorted(set(every) - set(reached))}
