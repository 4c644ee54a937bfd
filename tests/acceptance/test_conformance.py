"""`taskengine conformance worker`: good workers pass, and each broken rule is found by its own check."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from taskengine.conformance import Finding, Plan, State, judge_worker
from tests.support.nodejs import examples
from tests.support.rabbitmq import RabbitServer, unique_prefix
from tests.support.scripted_worker import QUEUE, ScriptedWorker

QUICK = {"TASKENGINE_HEARTBEAT_S": "1", "TASKENGINE_DRAIN_GRACE_S": "1"}
ROOT = Path(__file__).parents[2]
PLAN = Plan(QUEUE, "quick", slow_handler="slow", heartbeat_s=1, patience_s=3)
BROKEN: Mapping[str, str] = {  # rule → a part of the name of the check that finds it
    "token": "a task is executed",
    "attempt": "a task is executed",
    "handler": "a handler that it does not know",
    "garbage": "what is not JSON",
    "reason": "what is not JSON",
    "version": "a version that it does not know",
    "redelivered": "a redelivered task",
    "silent": "it is heard",
    "cancel": "a cancelled attempt",
    "tells": "a cancelled attempt",
    "fenced": "a fenced attempt",
    "timeout": "an attempt that runs out of time",
    "schema": "every message",
    "outputs": "every message",
    "drain": "on drain",
    "unreadable": "a task is executed",
}


async def findings_of(rabbitmq: RabbitServer, breaks: str) -> list[Finding]:
    """What is found of a scripted worker, in an installation of its own."""
    prefix = unique_prefix()
    worker: asyncio.Task[None] | None = None

    def begin() -> None:
        nonlocal worker
        amqp = f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/"
        worker = asyncio.create_task(_until_it_serves(ScriptedWorker(amqp, prefix, breaks)))

    try:
        return await judge_worker(rabbitmq.url(prefix), replace(PLAN, only=BROKEN.get(breaks, "")), ready=begin)
    finally:
        if worker is not None:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker


async def _until_it_serves(worker: ScriptedWorker) -> None:
    """The queue is made by the first task."""
    while True:
        with suppress(Exception):
            await worker.run()
        await asyncio.sleep(0.1)


async def test_each_broken_rule_is_found_by_its_check(rabbitmq: RabbitServer) -> None:
    """And a worker that keeps them all has nothing found."""
    rules = ["", *BROKEN]
    found = dict(zip(rules, await asyncio.gather(*(findings_of(rabbitmq, rule) for rule in rules)), strict=True))
    assert [finding for finding in found[""] if finding.state is not State.PASSED] == []
    assert len(found[""]) == 13
    for rule, check in BROKEN.items():
        failed = [finding.check for finding in found[rule] if finding.state is State.FAILED]
        assert any(check in name for name in failed), (rule, found[rule])
    assert "breaks its schema at v" in found["unreadable"][0].detail


@asynccontextmanager
async def running(*argv: str, cwd: Path, env: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker as a process."""
    process = await asyncio.create_subprocess_exec(*argv, cwd=cwd, env={"PATH": os.environ["PATH"], **env})
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def judged(url: str, *options: str) -> tuple[int | None, dict[str, str]]:
    """Exit code of the command, and what came of each check."""
    argv = [sys.executable, "-m", "taskengine", "conformance", "worker", "--broker", url, "--json", *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdout=pipe, stderr=pipe)
    output, errors = await asyncio.wait_for(process.communicate(), 120)
    assert output, errors.decode()
    answer = json.loads(output)
    assert answer["ok"] is (process.returncode == 0), answer
    return process.returncode, {check["check"]: f"{check['state']} {check['detail']}" for check in answer["checks"]}


async def test_the_engines_own_worker_keeps_the_rules(tmp_path: Path, rabbitmq: RabbitServer) -> None:
    """As a process of its own, judged by the command."""
    url = rabbitmq.url()
    options = ["--broker", url, "--queue", QUEUE, "--data-dir", str(tmp_path)]
    async with running(sys.executable, "-m", "taskengine", "worker", *options, cwd=ROOT, env=QUICK):
        code, found = await judged(
            url, "--queue", QUEUE, "--handler", "debug.noop", "--slow-handler", "debug.sleep", "--slow-with",
            '{"seconds": 600}', "--heartbeat", "1", "--patience", "30",
        )  # fmt: skip
    assert code == 0, {check: state for check, state in found.items() if not state.startswith("passed")}
    assert len(found) == 13
    assert {state.split()[0] for state in found.values()} == {"passed"}


async def test_the_example_in_nodejs_keeps_the_rules(rabbitmq: RabbitServer, installed: Path) -> None:
    """It says a word every two seconds."""
    prefix = unique_prefix()
    env = {"AMQP_URL": f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/", "PREFIX": prefix}
    async with running("node", "worker.mjs", cwd=installed, env=env):
        code, found = await judged(
            rabbitmq.url(prefix), "--queue", "captions", "--handler", "captions.upper", "--with", '{"text": "a"}',
            "--slow-handler", "captions.wait", "--slow-with", '{"seconds": 600}', "--heartbeat", "2",
        )  # fmt: skip
    assert code == 0, {check: state for check, state in found.items() if not state.startswith("passed")}


async def test_without_a_worker_it_says_so_and_ends(rabbitmq: RabbitServer) -> None:
    """At once, without the checks that need one."""
    code, found = await judged(rabbitmq.url(), "--queue", "nobody", "--handler", "x", "--patience", "1")
    assert code == 1
    assert list(found) == ["a task is executed and reported"]
    assert "nothing" in next(iter(found.values()))


installed = pytest.fixture(scope="module")(examples)
