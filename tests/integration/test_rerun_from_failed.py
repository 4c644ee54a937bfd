"""Reruns from what failed: what was completed is kept, the rest is run, in the workspace of the job before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taskengine.clock import SystemClock
from taskengine.domain.errors import Conflict, NotFound
from taskengine.domain.status import JobState
from taskengine.domain.tenants import Caller, Role
from taskengine.engine.actions import FROM_FAILED, Action, BulkActions, Outcome
from taskengine.engine.janitor import Janitor
from taskengine.engine.submissions import Submission
from taskengine.ports import JobFilter
from taskengine.storage.local import LocalStorage
from taskengine.storage.workspace import Workspaces
from tests.support.engine import ADMIN, WORKFLOWS, Bench, bench, settings_for, write_workflows
from tests.support.media import video_source
from tests.support.oracle import gather, judge
from tests.support.receiver import CallbackReceiver

# Jobs with ids up to `x` fail at `last`, with the items of `each` completed and `skip` skipped.
STAGES = {
    "stages": """
        defaults: {retry: {limit: 0}}
        steps:
          make: {handler: debug.noop, with: {items: [1, 2, 3], file: {$file: "ws://${{ string(job.id) }}/a/b"}}}
          skip: {handler: debug.noop, needs: [make], if: "${{ false }}"}
          each: {handler: debug.noop, needs: [make], foreach: "${{ steps.make.outputs.items }}", with: {n: "${{ item }}"}}
          last:
            handler: debug.fail
            needs: [each, skip]
            with: {message: not now, kind: input, times: "${{ job.id <= int(parameters.x) ? 9 : 0 }}"}
          end: {handler: debug.noop, needs: [last, make], with: {made: "${{ steps.make.outputs.file }}"}}
        on_failure:
          tidy: {handler: debug.noop}
        job_callback: {message: "${{ string(size(steps.each.outputs)) }}"}
    """
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Bench]:
    """An engine with the workflow of stages."""
    folder = write_workflows(tmp_path / "workflows", {**WORKFLOWS, **STAGES})
    async with CallbackReceiver() as receiver:
        async with bench(settings_for(tmp_path, workflows_dirs=[folder]), receiver) as running:
            yield running
        assert not running.judge.faults


def workspace(tmp_path: Path, job_id: int) -> Path:
    """Where a job's files are."""
    return tmp_path / "data" / "workspace" / str(job_id)


async def failed_job(world: Bench, tmp_path: Path, x: int = 1) -> int:
    """A job that failed at `last`; its file is there."""
    job_id = await world.submit("stages", x)
    assert (await world.ended(job_id)).failed
    file = workspace(tmp_path, job_id) / "a" / "b"
    file.parent.mkdir(parents=True)
    file.write_text("made")
    return job_id


async def rerun(world: Bench, job_id: int) -> int:
    """The new job's id."""
    return int((await world.engine.jobs.rerun(ADMIN, job_id, from_failed=True))["id"])


async def states(world: Bench, job_id: int) -> list[tuple[str, str]]:
    """(step, state) of every task."""
    return [(stored.task.step, stored.task.state.value) for stored in await world.engine.views.tasks(ADMIN, job_id)]


async def test_only_the_rest_is_run(world: Bench, tmp_path: Path) -> None:
    """What was completed shows as completed, with its outputs; it makes no callbacks, and the log tells of it. The old job
    is broken, and its files stay until the new one has ended."""
    old = await failed_job(world, tmp_path)
    new = await rerun(world, old)
    job = await world.ended(new)
    assert (job.failed, job.result, job.rerun_of) == (False, {"message": "3"}, old)
    assert (await world.job(old)).state is JobState.BROKEN
    done = [("make", "completed"), ("skip", "skipped"), *[("each", "completed")] * 3, ("last", "completed")]
    assert await states(world, new) == [*done, ("end", "completed")]
    assert [word for word in world.told(new) if word[1] != "start"] == [
        ("last", "complete"), ("end", "complete"), ("job", "completed"),
    ]  # fmt: skip
    tasks = await world.engine.views.tasks(ADMIN, new)
    assert [len(stored.attempts) for stored in tasks] == [0, 0, 0, 0, 0, 1, 1]
    assert tasks[-1].task.outputs["made"]["$file"] == f"ws://{old}/a/b"
    logs = [row["message"] for row in await world.engine.store.logs(new)]
    first = json.loads(logs[0])
    assert (first["payload"], first["parameters"]["x"]) == ("job_created", 1)
    assert logs[1] == f"'make' is kept: job {old} completed it"
    async with asyncio.timeout(5):
        while workspace(tmp_path, old).exists():  # noqa: ASYNC110 - a folder gives no sign
            await asyncio.sleep(0.02)
        while (await world.engine.store.callback_backlog())[0]:  # noqa: ASYNC110 - it was heard before it is settled
            await asyncio.sleep(0.02)
    url = f"sqlite:///{tmp_path / 'data' / 'taskengine.db'}"
    assert judge(await gather(url, accepted=[old, new], received=world.receiver.received), max_jobs=2) == []


def janitor(world: Bench, tmp_path: Path) -> Janitor:
    """One that keeps nothing of failed jobs."""

    async def never() -> float:
        return 30

    async def none() -> int:
        return 0

    return Janitor(
        world.engine.store, Workspaces(LocalStorage(tmp_path / "data" / "workspace")), SystemClock(), keep_failed_s=0,
        retention_days=never, clean_events=none,
    )  # fmt: skip


async def test_the_janitor_leaves_a_workspace_that_a_rerun_goes_on_in(world: Bench, tmp_path: Path) -> None:
    """Neither the end of the old job nor a round takes it while the new job waits, however often it was rerun."""
    old = await failed_job(world, tmp_path, x=2)  # its first rerun is job 2, which fails too
    second = await rerun(world, old)
    assert (await world.ended(second)).failed
    busy = [await world.submit("sleeps", 60, quiet=True) for _ in range(2)]
    third = await rerun(world, second)
    assert (await world.job(third)).workspace == old
    await janitor(world, tmp_path).round()
    assert (workspace(tmp_path, old) / "a" / "b").read_text() == "made"
    for job_id in busy:
        await world.engine.jobs.remove(ADMIN, job_id)
    assert not (await world.ended(third)).failed
    await janitor(world, tmp_path).round()
    assert not workspace(tmp_path, old).exists()


async def test_what_cannot_go_on_is_refused_and_nothing_changes(world: Bench, tmp_path: Path) -> None:
    """A job that has not failed; files that are gone; a job whose files another rerun has."""
    good = await world.submit("chain")
    await world.ended(good)
    with pytest.raises(Conflict, match="the job completed and did not fail"):
        await rerun(world, good)
    lost = await failed_job(world, tmp_path, x=9)
    (workspace(tmp_path, lost) / "a" / "b").unlink()
    with pytest.raises(Conflict, match=rf"the files that the completed tasks of job {lost} left .* \(1 of 1, ws://"):
        await rerun(world, lost)
    assert (await world.job(lost)).state is JobState.COMPLETED
    mended = await failed_job(world, tmp_path, x=lost + 1)
    answers = await asyncio.gather(*(rerun(world, mended) for _ in range(4)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "Conflict", "Conflict", "int"]
    with pytest.raises(Conflict, match="the job is broken: only one that has failed"):
        await rerun(world, mended)


async def test_many_are_rerun_from_what_failed_at_once(world: Bench, tmp_path: Path) -> None:
    """The dry run says which can be, as the run does."""
    failed = [await failed_job(world, tmp_path, x=2) for _ in range(2)]
    good = await world.submit("stages", 0)
    await world.ended(good)
    everything = JobFilter(workflow="stages", job_ids=[*failed, good])
    actions = BulkActions(world.engine.jobs, world.engine.views)
    outcome = Outcome()
    for dry_run in (True, False):
        outcome = await actions.act(
            ADMIN, Action.RERUN, everything, FROM_FAILED, may_submit=lambda _: None, dry_run=dry_run
        )
        assert (outcome.changed, list(outcome.refused)) == (failed, [good])
    assert [(await world.ended(new)).result for new in outcome.reruns.values()] == [{"message": "3"}] * 2


async def test_another_client_s_job_does_not_exist(world: Bench, tmp_path: Path) -> None:
    """Also where it failed."""
    old = await failed_job(world, tmp_path)
    with pytest.raises(NotFound):
        await world.engine.jobs.rerun(Caller("stranger", Role.SUBMITTER), old, from_failed=True)


async def test_a_film_that_could_not_be_published_is_not_encoded_again(world: Bench, tmp_path: Path) -> None:
    """vodstream fails at publish, since a file is where its folder should be; once that is gone, the rerun publishes what
    had been encoded."""
    storage = tmp_path / "data" / "storage"
    (storage / "source" / "in").mkdir(parents=True)
    video_source(storage / "source" / "in" / "film.mp4", seconds=1)
    (storage / "output" / "out").write_text("in the way")
    parameters = {
        "content_id": "film", "source_folder": "in", "output_folder": "out", "encode_source": True,
        "rest_endpoints": [f"{world.receiver.url}/cb"],
    }  # fmt: skip
    answer = await world.engine.jobs.submit(Submission("demo", "vodstream", parameters, max_retries=0))
    old = int(answer["id"])
    job = await world.ended(old, 60)
    assert job.error is not None
    assert job.error.startswith("publish: ")
    (storage / "output" / "out").unlink()
    new = await rerun(world, old)
    job = await world.ended(new, 60)
    assert (job.failed, job.error) == (False, None)
    assert {name for name, _ in world.told(new)} == {"publish", "job"}
    assert f"v/{new}-1/clear/" in (storage / "output" / "out" / "film.m3u8").read_text()
    logs = [row["message"] for row in await world.engine.store.logs(new, show_all=True)]
    assert not [line for line in logs if "ffmpeg" in line]
