"""Races of pause, break, rerun and the job's own end, through the HTTP API: several calls at once, at a random moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from taskengine.handlers.support import through
from taskengine.ports import TaskContext

PROCESS_S, PUT_S = 0.06, 0.04
WORKFLOW = {
    "race": f"""
        steps:
          work: {{handler: debug.shell, with: {{command: "sleep {PROCESS_S}"}}}}
          put: {{handler: test.put, needs: [work], with: {{folder: "${{{{ string(job.id) }}}}"}}}}
    """
}
CALLS: Mapping[str, tuple[str, str, Mapping[str, Any] | None]] = {
    "pause": ("PATCH", "/jobs/{}", {"queue_state": "paused"}),
    "resume": ("PATCH", "/jobs/{}", {"queue_state": "queued"}),
    "break": ("PATCH", "/jobs/{}", {"queue_state": "broken"}),
    "delete": ("DELETE", "/jobs/{}", None),
    "rerun": ("POST", "/jobs/{}/rerun", None),
}
_QUEUED, _STARTED, _COMPLETED, _BROKEN, _PAUSED = 0, 1, 2, 4, 6


class Put:
    """Publishes a file, after some work."""

    name = "test.put"
    inputs: Mapping[str, Any] = {"type": "object"}
    outputs: Mapping[str, Any] = {"type": "object", "additionalProperties": True}

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """It is there whole, once that has begun."""
        await asyncio.sleep(PUT_S)
        name = f"{context.inputs['folder']}/out"
        await through(context.storage("local").write(name, b"published"))
        return {"put": name}


@dataclass(slots=True)
class Race:
    """What was called and what became of it: (call, status, error or result)."""

    job_id: int
    answers: list[tuple[str, int, str]] = field(default_factory=list)
    reruns: list[int] = field(default_factory=list)
    job: Mapping[str, Any] = field(default_factory=dict)
    logs: Sequence[str] = ()

    def done(self, *calls: str) -> int:
        """How many of these calls were answered as done."""
        return sum(status == 200 and call in calls for call, status, _ in self.answers)

    def faults(self, published: Sequence[str]) -> list[str]:
        """What is wrong with it."""
        return [f"job {self.job_id} {fault}: {self.answers}" for fault in self._faults(published)]

    def _faults(self, published: Sequence[str]) -> list[str]:
        found = [f"{call}: {status} {text}" for call, status, text in self.answers if not _is_clear(status, text)]
        state = self.job["queue_state"]
        ended = sum("job has completed successfully" in line for line in self.logs)
        taken_out = self.done("break", "delete")
        if taken_out > 1:
            found.append("was broken by two calls")
        if state != (_BROKEN if taken_out or self.done("rerun") else _COMPLETED):
            found.append(f"is in state {state}")
        if taken_out and ended:
            found.append("was broken, and completed all the same")
        if ended + (state == _BROKEN) == 0 or ended > 1:
            found.append(f"ended {ended} times")
        if len(published) != ended:
            found.append(f"completed {ended} times and published {published}")
        return found


def _is_clear(status: int, text: str) -> bool:
    """Done, or refused with the state that the job is in."""
    return status == 200 or (status == 409 and text.startswith("the job is "))


class Races:
    """Runs them against an engine's API."""

    def __init__(self, url: str, key: str, output: Path) -> None:
        self._url, self._headers, self._output = url, {"client": "demo", "api-key": key}, output

    async def run(self, amount: int, seed: int, at_once: int = 12) -> list[Race]:
        """So many, some of them at one time; each ends."""
        chance, gate = random.Random(seed), asyncio.Semaphore(at_once)
        async with aiohttp.ClientSession(self._url, headers=self._headers) as http:

            async def one(seed: int) -> Race:
                async with gate:
                    return await self._race(http, random.Random(seed))

            return await asyncio.gather(*(one(chance.randrange(2**32)) for _ in range(amount)))

    def published(self, race: Race) -> list[str]:
        """The files that the job has published."""
        folder = self._output / str(race.job_id)
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    async def _race(self, http: aiohttp.ClientSession, chance: random.Random) -> Race:
        body = {"job": {"workflow": "race"}, "parameters": {"content_id": "race"}}
        async with http.post("/job", json=body) as response:
            race = Race((await response.json())["id"])
        await asyncio.sleep(chance.uniform(0, 3 * (PROCESS_S + PUT_S)))
        calls = chance.choices(list(CALLS), weights=[3, 1, 3, 1, 2], k=chance.randint(2, 4))
        await asyncio.gather(*(self._call(http, race, call, chance.uniform(0, 0.01)) for call in calls))
        for job_id in (race.job_id, *race.reruns):
            await self._end(http, job_id)
        race.job = await self._get(http, f"/jobs/{race.job_id}")
        race.logs = [line["message"] for line in await self._get(http, f"/logs/{race.job_id}?show_all=1")]
        return race

    async def _call(self, http: aiohttp.ClientSession, race: Race, call: str, after_s: float) -> None:
        method, path, body = CALLS[call]
        await asyncio.sleep(after_s)
        async with http.request(method, path.format(race.job_id), json=body) as response:
            answer = await response.json()
            race.answers.append((call, response.status, str(answer.get("error") or answer.get("result"))))
            if call == "rerun" and response.status == 200:
                race.reruns.append(answer["id"])

    async def _end(self, http: aiohttp.ClientSession, job_id: int) -> None:
        """Let a job go on that was paused, until it has ended."""
        async with asyncio.timeout(30):
            while (state := (await self._get(http, f"/jobs/{job_id}"))["queue_state"]) not in {_COMPLETED, _BROKEN}:
                if state == _PAUSED:
                    async with http.patch(f"/jobs/{job_id}", json={"queue_state": "queued"}) as response:
                        await response.read()
                await asyncio.sleep(0.03)

    async def _get(self, http: aiohttp.ClientSession, path: str) -> Any:
        async with http.get(path) as response:
            return await response.json()
