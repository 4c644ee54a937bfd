"""Secrets of jobs, clients and schedules: sealed wherever they lie or pass, open to handlers alone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from taskengine.api.views import client_object, job_object, task_detail
from taskengine.domain.errors import InvalidRequest
from taskengine.engine.recurring import RecurringJobs, Submitted
from taskengine.engine.submissions import Submission
from taskengine.ports import Recurring
from tests.support.clock import MovedClock
from tests.support.engine import ADMIN, Bench, bench, settings_for, write_workflows
from tests.support.files import contents_below
from tests.support.pool import pool
from tests.support.receiver import CallbackReceiver
from tests.support.vault import VAULT
from tests.support.wire import Wire

# Of this run alone: other processes of the machine are looked at.
KEY, SEED, PASSWORD, TOKEN = (secrets.token_hex(16) for _ in range(4))
HEADER, SECRET = f"Bearer {secrets.token_hex(16)}", "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
PLAIN = (KEY, SEED, PASSWORD, TOKEN, HEADER, SECRET)
URL = f"https://me:{PASSWORD}@origin.example/a.m3u8?token={TOKEN}&x=1"

WORKFLOWS = {
    "secretive": """
        parameters:
          type: object
          properties:
            source: {type: string, format: uri}
            licence: {type: string, writeOnly: true}
            clips: {type: array, items: {type: object, properties: {content_key: {type: string, writeOnly: true}}}}
            shell: {type: string, default: "true"}
        steps:
          first: {handler: debug.noop, with: {licence: "${{ parameters.licence }}", source: "${{ parameters.source }}",
                  hls: "${{ parameters.source.contains('.m3u8') }}"}}
          each: {handler: debug.noop, needs: [first], foreach: "${{ parameters.clips }}", with: {clip: "${{ item }}"}}
          say:
            handler: debug.shell
            needs: [each]
            with: {command: "${{ parameters.shell }}"}
          bad: {handler: debug.fail, needs: [say], optional: true,
                with: {kind: input, message: "${{ steps.first.outputs.licence }}"}}
        job_callback: {message: "${{ steps.first.outputs.licence }}", files: ["${{ steps.first.outputs.source }}"]}
    """,
    "told": """
        parameters:
          type: object
          properties: {licence: {type: string, writeOnly: true}}
        steps:
          say: {handler: debug.shell, with: {command: "${{ parameters.licence }}"}}
    """,
}  # fmt: skip


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """An endpoint."""
    async with CallbackReceiver() as listening:
        yield listening


@pytest.fixture
async def world(tmp_path: Path, receiver: CallbackReceiver) -> AsyncIterator[Bench]:
    """An engine with workflows that have secrets."""
    folder = write_workflows(tmp_path / "secretive", WORKFLOWS)
    settings = settings_for(tmp_path, workflows_dirs=[folder], debug_shell=True)
    async with bench(settings, receiver) as running:
        yield running


def _parameters(world: Bench, **more: Any) -> dict[str, Any]:
    """Secrets by schema, by name, and in URLs."""
    endpoint = f"http://cb:{PASSWORD}@127.0.0.1:{world.receiver.port}/cb?token={TOKEN}"
    custom = {"token": "the client's own", "$sealed": "too"}
    given = {"content_id": "c", "source": URL, "licence": SEED, "clips": [{"content_key": KEY}], "custom_data": custom}
    return {**given, "rest_endpoints": [endpoint], **more}


async def _submit(world: Bench, workflow: str = "secretive", **more: Any) -> int:
    answer = await world.engine.jobs.submit(Submission("demo", workflow, _parameters(world, **more)))
    return int(answer["id"])


def _leaks(data: bytes | str) -> list[str]:
    text = data if isinstance(data, str) else data.decode("latin-1")
    return [secret for secret in PLAIN if secret.lower() in text.lower()]


async def _logs(world: Bench, job_id: int) -> str:
    return "\n".join(str(row["message"]) for row in await world.engine.store.logs(job_id, show_all=True))


async def test_no_secret_of_a_job_lies_or_passes_in_plain(
    world: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Database with its journal, messages, callbacks, logs, API answers; and the handlers got the secrets all the same."""
    wire = Wire(world.engine.broker)
    job_id = await _submit(world)
    job = await world.ended(job_id)
    assert not job.failed, job.error
    stored = [*(tmp_path / "data").glob("taskengine.db*")]
    assert len(stored) > 1
    scanned: Mapping[str, Any] = {
        **{path.name: path.read_bytes() for path in stored},
        "messages": b"".join(wire.bodies),
        "callbacks": b"".join(world.receiver.raw),
        "logs": await _logs(world, job_id),
        "job": json.dumps(job_object(await world.engine.views.view(ADMIN, job_id))),
        "tasks": json.dumps([task_detail(one, {}, None) for one in await world.engine.views.tasks(ADMIN, job_id)]),
        "output": "".join(capfd.readouterr()),
    }
    assert {name: found for name, data in scanned.items() if (found := _leaks(data))} == {}
    assert SEED[-4:] in scanned["logs"]  # the submission, masked but for its end


async def test_no_secret_is_in_a_process_or_file_while_a_job_runs(world: Bench, tmp_path: Path) -> None:
    """Command lines and environments of all processes, and whatever lies in the data directory, scratch and workspace too."""
    job_id = await _submit(world, shell="echo begun > begun; sleep 1.5")
    scratch = tmp_path / "data" / "scratch"
    async with asyncio.timeout(20):
        while not [*scratch.glob("*/begun")]:  # noqa: ASYNC110 - a file gives no sign
            await asyncio.sleep(0.02)
    running = [pid.name for pid in Path("/proc").iterdir() if pid.name.isdigit()]
    told = {f"{pid} {name}": data for pid in running for name in ("cmdline", "environ") if (data := _of(pid, name))}
    assert any(b"sleep" in data for data in told.values())
    files = contents_below(tmp_path / "data")
    assert any("scratch" in name for name in files)
    assert {name: found for name, data in {**told, **files}.items() if (found := _leaks(data))} == {}
    assert not (await world.ended(job_id)).failed


def _of(pid: str, name: str) -> bytes:
    with contextlib.suppress(OSError):  # it has ended, or is somebody else's
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


async def test_the_handlers_get_the_secrets(world: Bench) -> None:
    """Opened just before: a step's error would have told it, and expressions see a URL as a text."""
    job_id = await _submit(world, shell="printf %s x")
    await world.ended(job_id)
    tasks = {one.task.step: one.task for one in await world.engine.views.tasks(ADMIN, job_id)}
    assert tasks["first"].outputs["hls"] is True
    assert tasks["bad"].error == "****"  # what it was asked to say, scrubbed
    command = f"echo {SEED}; test {SEED} = {SEED}"
    parameters = {"content_id": "c", "licence": command, "rest_endpoints": [f"{world.receiver.url}/cb"]}
    told = int((await world.engine.jobs.submit(Submission("demo", "told", parameters)))["id"])
    await world.ended(told)
    [task] = [one.task for one in await world.engine.views.tasks(ADMIN, told)]
    assert task.outputs["exit_code"] == 0
    assert "exit 0" in await _logs(world, told)
    assert _leaks(await _logs(world, told)) == []


async def test_task_messages_name_secrets_as_the_contract_says(world: Bench) -> None:
    """`{"$sealed": …}`, for a URL with credentials too."""
    wire = Wire(world.engine.broker)
    await world.ended(await _submit(world))
    [first] = [task for task in wire.tasks if task.task_name == "first"]
    assert set(first.inputs["licence"]) == set(first.inputs["source"]) == {"$sealed"}


async def test_custom_data_comes_back_exactly_and_callbacks_reach_a_secret_endpoint(world: Bench) -> None:
    """The endpoint's password and token are opened for the call alone; what a callback shows of secrets is masked."""
    await world.ended(await _submit(world))
    [body] = [one.body for one in world.receiver.received if one.body.get("status") == "completed"]
    assert body["custom_data"] == {"token": "the client's own", "$sealed": "too"}
    assert body["message"] == "****"
    assert body["files"] == ["https://me:****@origin.example/a.m3u8?token=****&x=1"]
    assert {one.path for one in world.receiver.received} == {f"/cb?token={TOKEN}"}


async def test_a_rerun_has_the_same_secrets(world: Bench) -> None:
    """From the start, and its log does not show them."""
    first = await _submit(world)
    await world.ended(first)
    again = int((await world.engine.jobs.rerun(ADMIN, first))["id"])
    assert not (await world.ended(again)).failed
    assert _leaks(await _logs(world, again)) == []


async def test_nobody_hands_in_what_is_sealed(world: Bench) -> None:
    """Else what one job has sealed could be had opened by another."""
    with pytest.raises(InvalidRequest) as raised:
        await _submit(world, licence={"$sealed": "k.x"}, source="https://h.example/?x=~sealed.k.x~")
    assert {"/parameters/licence", "/parameters/source"} <= {fault.path for fault in raised.value.faults}


async def test_a_secret_within_a_text_and_in_a_header_stays_sealed_until_it_is_used(
    tmp_path: Path, receiver: CallbackReceiver
) -> None:
    """A step's text is opened by its worker, a callback's header when it is sent; its body shows none."""
    text = """
        parameters:
          type: object
          properties: {licence: {type: string, writeOnly: true}}
        steps:
          a: {handler: debug.shell, with: {command: "case 'key=${{ parameters.licence }}' in key=BEGIN*) ;; *) exit 1; esac"}}
          b: {handler: debug.noop, needs: [a], with: {x: "key=${{ parameters.licence }}"}}
        callbacks:
          headers: {Authorization: "Bearer ${{ parameters.licence }}", X-Key: "${{ parameters.licence }}"}
          job_body: {said: "${{ parameters.licence }}", joined: "so: ${{ steps.b.outputs.x }}"}
    """
    folder = write_workflows(tmp_path / "joined", {"joined": text.replace("BEGIN", SEED[:6])})
    async with bench(settings_for(tmp_path, workflows_dirs=[folder], debug_shell=True), receiver) as world:
        parameters = {"content_id": "c", "licence": SEED, "rest_endpoints": [f"{receiver.url}/cb"]}
        await world.engine.jobs.submit(Submission("demo", "joined", parameters))
        await receiver.wait_for(lambda: bool(receiver.received) and "said" in receiver.received[-1].body)
        assert _leaks(b"".join(path.read_bytes() for path in (tmp_path / "data").glob("taskengine.db*"))) == []
    last = receiver.received[-1]
    assert last.body == {"said": "****", "joined": "so: key=****"}
    assert (last.headers["authorization"], last.headers["x-key"]) == (f"Bearer {SEED}", SEED)


async def test_a_clients_secrets_are_sealed_and_still_used(world: Bench, tmp_path: Path) -> None:
    """Signing secrets, callback headers and secret defaults: in the database sealed, in answers masked, in calls there."""
    config = {
        "callback_secrets": [SECRET],
        "callback_headers": {"X-Auth": HEADER},
        "defaults": {"*": {"licence": SEED}},
    }
    await world.engine.tenants.change_client("demo", None, config)
    await world.ended(await _submit(world))
    assert world.receiver.received[0].headers["x-auth"] == HEADER
    assert "webhook-signature" in world.receiver.received[0].headers
    [view] = await world.engine.tenants.clients()
    assert client_object(view)["config"]["callback_headers"] == {"X-Auth": "****"}
    assert _leaks(b"".join(path.read_bytes() for path in (tmp_path / "data").glob("taskengine.db*"))) == []


async def test_a_schedules_parameters_are_sealed_and_submitted_open(world: Bench, tmp_path: Path) -> None:
    """Whatever the workflow of the day calls secret."""
    clock, seen = MovedClock(), []
    jobs = RecurringJobs(world.engine.store, clock, VAULT)
    body = {"job": {"workflow": "secretive", "semaphore_url": URL}, "parameters": _parameters(world)}
    await jobs.save(Recurring("demo", "hourly", "0 * * * *", "UTC", body, active=True, next_at=None, created_at=0))
    [kept] = await world.engine.store.recurring()
    assert _leaks(json.dumps(dict(kept.body))) == []

    async def submit(one: Recurring, _key: str) -> Submitted:
        seen.append(one.body)
        return Submitted(1)

    await clock.advance(3600)
    await jobs.look(submit)
    assert seen == [body]


async def test_a_worker_without_the_key_gives_the_step_up_to_others(tmp_path: Path) -> None:
    """A fault of kind `resource` that names what is missing; tasks without secrets are its work as ever."""
    async with pool(tmp_path, {"noop": _nothing}) as workers:
        token = await workers.send("noop", inputs={"k": {"$sealed": "0badc0de.AAAA"}})
        report = await workers.end_of(token)
        assert report.details["error"]["kind"] == "resource"
        assert (
            "this worker cannot open the inputs: a secret is sealed with the key '0badc0de'"
            in report.details["error"]["message"]
        )
        assert (await workers.end_of(await workers.send("noop"))).event == "completed"


async def _nothing(_context: Any) -> Mapping[str, Any]:
    return {}
