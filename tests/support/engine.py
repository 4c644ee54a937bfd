"""A whole engine in the test's process: embedded store and broker, real loops, real workers, debug workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from taskengine.app import Engine, engine
from taskengine.domain.job import Job
from taskengine.domain.tenants import Caller, Role
from taskengine.engine.submissions import Submission
from taskengine.settings import Settings, load_settings
from tests.support.judged import Judge, judging
from tests.support.receiver import CallbackReceiver

ADMIN = Caller("demo", Role.ADMIN)

WORKFLOWS: Mapping[str, str] = {
    "chain": """
        steps:
          a: {handler: debug.noop, with: {x: "${{ parameters.x }}"}}
          b: {handler: debug.noop, needs: [a], with: {x: "${{ steps.a.outputs.x }}"}}
          c: {handler: debug.noop, needs: [b], with: {x: "${{ steps.b.outputs.x }}"}}
        job_callback: {message: "${{ string(steps.c.outputs.x) }}"}
    """,
    "fan": """
        steps:
          list: {handler: debug.noop, with: {items: [1, 2, 3, 4]}}
          each: {handler: debug.noop, needs: [list], foreach: "${{ steps.list.outputs.items }}", with: {n: "${{ item }}"}}
          join: {handler: debug.noop, needs: [each], with: {all: "${{ steps.each.outputs.map(o, o.n) }}"}}
        job_callback: {message: "${{ string(size(steps.join.outputs.all)) }}"}
    """,
    "named": """
        steps: {say: {handler: debug.noop, with: {job: "${{ job }}"}}}
        job_callback: {job: "${{ job }}", message: "${{ job.created_at }}", said: "${{ steps.say.outputs.job }}"}
    """,
    "flaky": """
        defaults: {retry: {limit: 3, delay: 0}}
        steps:
          try: {handler: debug.fail, with: {message: not yet, kind: internal, times: "${{ int(parameters.x) }}"}}
    """,
    "fails": """
        steps:
          bad: {handler: debug.fail, with: {message: it is wrong, kind: input}}
          never: {handler: debug.noop, needs: [bad]}
        on_failure:
          tidy: {handler: debug.noop}
    """,
    "shell": """
        steps:
          run: {handler: debug.shell, with: {command: "${{ string(parameters.x) }}"}}
    """,
    "sleeps": """
        steps:
          nap: {handler: debug.sleep, with: {seconds: "${{ double(parameters.x) }}"}}
          last: {handler: debug.noop, needs: [nap]}
    """,
}


def write_workflows(folder: Path, workflows: Mapping[str, str] = WORKFLOWS) -> Path:
    """Workflow files; those that name no parameters have one, x."""
    folder.mkdir(exist_ok=True)
    for name, text in workflows.items():
        own = "" if "parameters:\n" in text else "parameters: {type: object, properties: {x: {default: 0}}}\n"
        (folder / f"{name}.yaml").write_text(f"name: {name}\n{own}{dedent(text)}")
    return folder


def settings_for(tmp_path: Path, **flags: Any) -> Settings:
    """Settings of an engine on its own data directory, quick enough for tests."""
    given = {
        "data_dir": tmp_path / "data",
        "port": 0,
        "heartbeat_s": 0.5,
        "workflows_dirs": [write_workflows(tmp_path / "workflows")],
        "bootstrap_api_key": "test-key",
        "engine.retry_delay": 0,
        **flags,
    }
    return load_settings(given, env={})


class Bench:
    """A running engine and the endpoint that hears of its jobs."""

    def __init__(self, running: Engine, receiver: CallbackReceiver, judge: Judge) -> None:
        self.engine, self.receiver, self.judge = running, receiver, judge

    async def submit(self, workflow: str, x: Any = 0, *, quiet: bool = False, **fields: Any) -> int:
        """Submit a job that reports to the receiver; its id."""
        parameters: dict[str, Any] = {"content_id": "test", "x": x}
        if not quiet:
            parameters["rest_endpoints"] = [f"{self.receiver.url}/cb"]
        answer = await self.engine.jobs.submit(Submission("demo", workflow, parameters, **fields))
        return int(answer["id"])

    def told(self, job_id: int) -> list[tuple[str, str]]:
        """(task or "job", event or status) of the callbacks of a job, as they came, repeats left out."""
        seen: dict[str, tuple[str, str]] = {}
        for one in self.receiver.received:
            body = one.body
            if body["job_id"] == job_id:
                word = (body["task_name"], body["event"]) if "task_name" in body else ("job", body["status"])
                seen.setdefault(one.headers["webhook-id"], word)
        return list(seen.values())

    async def heard(self, job_id: int, word: tuple[str, str], timeout_s: float = 15) -> None:
        """Wait until the receiver was told so."""
        await self.receiver.wait_for(lambda: word in self.told(job_id), timeout_s)

    async def ended(self, job_id: int, timeout_s: float = 15) -> Job:
        """Wait for the job's callback; the job as it is then."""
        await self.receiver.wait_for(lambda: any(name == "job" for name, _ in self.told(job_id)), timeout_s)
        return await self.job(job_id)

    async def job(self, job_id: int) -> Job:
        """The job now."""
        return (await self.engine.views.view(ADMIN, job_id)).job


@asynccontextmanager
async def bench(settings: Settings, receiver: CallbackReceiver, **how: bool) -> AsyncIterator[Bench]:
    """Run an engine with a receiver of callbacks beside it; what it publishes keeps to the published schemas."""
    with judging() as judge:
        async with engine(settings, **{"http": False, **how}) as running:
            yield Bench(running, receiver, judge)
