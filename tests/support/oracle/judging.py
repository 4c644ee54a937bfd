"""The promises as checks: each takes the facts and yields a sentence for every violation."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from tests.support.oracle.facts import Facts, Row

_TASK_ENDED = {"completed", "failed", "skipped", "cancelled"}
_JOB_ENDS = {"completed", "failed", "broken"}  # as events name them
_LEAVES_SLOT = {*_JOB_ENDS, "paused", "queued", "scheduled", "pending"}


def judge(facts: Facts, *, max_jobs: int, callbacks_once: bool = False, gone: Collection[str] = ()) -> list[str]:
    """Every violation of the promises, as sentences; [] is a good run.

    `max_jobs` is the budget that was set for the whole run. `callbacks_once`: the run had no fault, so that each
    callback must have been received once and no more. `gone` are the endpoints that answered 410: what they were not told
    is dead.
    """
    return [
        *_accepted(facts),
        *_terminal_once(facts),
        *_numbered(facts),
        *_one_completion(facts),
        *_after_needs(facts),
        *_slots(facts, max_jobs),
        *_callbacks_written(facts),
        *_callbacks_heard(facts, once=callbacks_once, gone=gone),
        *_nothing_open(facts),
        *_counters(facts),
    ]


def _accepted(facts: Facts) -> Iterator[str]:
    for job_id in sorted(set(facts.accepted) - {job["id"] for job in facts.jobs}):
        yield f"job {job_id} was accepted and is not in the store"


def _terminal_once(facts: Facts) -> Iterator[str]:
    """One terminal state first, and kept; a rerun of it may make it broken."""
    rerun = {job["rerun_of"] for job in facts.jobs}
    events = _grouped([event for event in facts.events if event["kind"] == "job"])
    for job in facts.jobs:
        if job["state"] not in {"completed", "broken"} or job["completed_at"] is None:
            yield f"job {job['id']} has not ended: {job['state']}"
            continue
        names = [event["name"] for event in events[job["id"]]]
        ends = [name for name in names if name in _JOB_ENDS]
        last = "broken" if job["state"] == "broken" else "failed" if job["failed"] else "completed"
        if not ends or names[-1] != last:
            yield f"job {job['id']} is {last}, and its events end with {names[-1:]}"
        elif len(ends) > 1 and not (len(ends) == 2 and ends[1] == "broken" and job["id"] in rerun):
            yield f"job {job['id']} ended {len(ends)} times: {ends}"
        elif any(name not in _JOB_ENDS for name in names[names.index(ends[0]) :]):
            yield f"job {job['id']} went on after its end: {names}"


def _numbered(facts: Facts) -> Iterator[str]:
    """The events of a job are numbered without gaps, in the order in which they were committed."""
    events = _grouped(facts.events)
    for job in facts.jobs:
        numbers = [event["seq"] for event in events[job["id"]]]
        if numbers != list(range(1, job["seq"] + 1)):
            yield f"the events of job {job['id']} are numbered {numbers}, and the job counts {job['seq']}"


def _one_completion(facts: Facts) -> Iterator[str]:
    """A task that completed has one effective completion, any other none; its tries follow one another."""
    attempts: defaultdict[int, list[Row]] = defaultdict(list)
    for attempt in facts.attempts:
        attempts[attempt["task_id"]].append(attempt)
    told = Counter((event["task_id"], event["name"]) for event in facts.events if event["kind"] == "task")
    kept = _kept(facts)
    for task in facts.tasks:
        if task["id"] in kept and not attempts[task["id"]]:
            continue
        told_of_it = (told[task["id"], "start"], told[task["id"], "complete"])
        for sentence in _completion(task, attempts[task["id"]], *told_of_it):
            yield f"task {task['id']} of job {task['job_id']} ({task['state']}) {sentence}"
    for token, count in Counter(attempt["token"] for attempt in facts.attempts).items():
        if count > 1:
            yield f"the token {token} was given to {count} attempts"


def _kept(facts: Facts) -> set[int]:
    """The tasks that a rerun from what failed took over completed: they have no course of their own."""
    reruns = {job["id"] for job in facts.jobs if job["workspace_of"] is not None}
    return {
        task["id"]
        for task in facts.tasks
        if task["job_id"] in reruns and task["state"] == "completed" and task["attempt"] == 0
    }


def _completion(task: Row, attempts: Sequence[Row], starts: int, completions: int) -> Iterator[str]:
    """What is wrong with one task, its attempts in their order."""
    completed = task["state"] == "completed"
    effective = [attempt["outcome"] for attempt in attempts].count("completed")
    if effective != completed:
        yield f"has {effective} effective completions"
    if completions != completed:
        yield f"was told complete {completions} times"
    if not completed <= starts <= 1:
        yield f"was told to start {starts} times"
    if completed and attempts and attempts[-1]["outcome"] != "completed":
        yield "was tried again after its completion"
    for earlier, later in pairwise(attempts):
        if later["started_at"] is not None and later["started_at"] < earlier["ended_at"]:
            yield f"began attempt {later['attempt']} before attempt {earlier['attempt']} was over"


def _after_needs(facts: Facts) -> Iterator[str]:
    """No task began before every task of the steps that it needs had ended."""
    tasks, kept = _grouped(facts.tasks), _kept(facts)
    begun = {event["task_id"]: event for event in facts.events if event["kind"] == "task" and event["name"] == "start"}
    ended = {
        event["task_id"]: event["seq"]
        for event in facts.events
        if event["kind"] == "task" and event["name"] in {"complete", "fail"}
    }
    for job in facts.jobs:
        for task in tasks[job["id"]]:
            if task["id"] not in begun:
                continue
            steps = facts.needs[job["workflow_digest"]][task["step"]]
            for other in tasks[job["id"]]:
                needed = (
                    other["step"] in steps
                    and other["state"] not in {"skipped", "cancelled"}
                    and other["id"] not in kept
                )
                if needed and ended.get(other["id"], job["seq"] + 1) > begun[task["id"]]["seq"]:
                    yield f"task {task['id']} ({task['step']}) began before {other['step']}, which it needs, had ended"


def _slots(facts: Facts, max_jobs: int) -> Iterator[str]:
    """Never were more jobs started than there are slots. Ids of events ascend in the order of the commits."""
    started: set[int] = set()
    for event in facts.events:
        if event["kind"] != "job":
            continue
        if event["name"] == "started":
            started.add(event["job_id"])
        elif event["name"] in _LEAVES_SLOT:
            started.discard(event["job_id"])
        if len(started) > max_jobs:
            yield f"{len(started)} jobs were started at one time (event {event['id']}); there are {max_jobs} slots"
            return


def _callbacks_written(facts: Facts) -> Iterator[str]:
    """Each thing that happened has its callback for each endpoint, once."""
    written = Counter((row["job_id"], row["endpoint"], row["event"], row["task_id"]) for row in facts.callbacks)
    endpoints = {job["id"]: set(json.loads(job["endpoints"])) for job in facts.jobs}
    rerun = {job["rerun_of"] for job in facts.jobs}
    due: Counter[tuple[int, str, str, int | None]] = Counter()
    for event in facts.events:
        if event["kind"] == "job" and (
            event["name"] not in _JOB_ENDS or (event["name"] == "broken" and event["job_id"] in rerun)
        ):
            continue
        name = "job" if event["kind"] == "job" else event["name"]
        for endpoint in endpoints.get(event["job_id"], ()):
            due[event["job_id"], endpoint, name, event["task_id"]] += 1
    for (job_id, _, name, task_id), count in sorted((due - written).items(), key=repr):
        yield f"job {job_id}: {count} callbacks {name!r} of task {task_id} were never written"
    for (job_id, _, name, task_id), count in sorted(written.items(), key=repr):
        if count > 1:
            yield f"job {job_id}: the callback {name!r} of task {task_id} was written {count} times"


def _callbacks_heard(facts: Facts, *, once: bool, gone: Collection[str]) -> Iterator[str]:
    """Each was received, in the order of its line, but by an endpoint that is gone; what is told twice has the same id."""
    place: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for number, request in enumerate(facts.received):
        webhook_id = request.headers["webhook-id"]
        place.setdefault(webhook_id, number)
        counts[webhook_id] += 1
    lines: defaultdict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in facts.callbacks:
        lines[row["job_id"], row["endpoint"]].append(row)
        refused = row["endpoint"] in gone
        if row["state"] != ("dead" if refused else "delivered"):
            yield f"the callback {row['id']} ({row['event']}) of job {row['job_id']} is {row['state']}"
        if row["webhook_id"] not in place and not refused:
            yield f"the callback {row['id']} ({row['event']}) of job {row['job_id']} was never received"
    for (job_id, _), rows in lines.items():
        heard = [place[row["webhook_id"]] for row in rows if row["webhook_id"] in place]
        if heard != sorted(heard):
            yield f"the callbacks of job {job_id} came out of order: {heard}"
    known = {row["webhook_id"] for row in facts.callbacks}
    yield from (f"the callback {webhook_id} was received and never written" for webhook_id in counts.keys() - known)
    if once:
        yield from (f"the callback {name} was received {count} times" for name, count in counts.items() if count > 1)


def _nothing_open(facts: Facts) -> Iterator[str]:
    for task in facts.tasks:
        if task["state"] not in _TASK_ENDED:
            yield f"task {task['id']} of job {task['job_id']} has not ended: {task['state']}"
    for line in facts.lines:
        yield f"job {line['job_id']} has a line of callbacks that is not closed"


def _counters(facts: Facts) -> Iterator[str]:
    """The counters say what a count of the rows would."""
    counted: Counter[tuple[str, str]] = Counter()
    for job in facts.jobs:
        counted[f"jobs:{job['client']}", job["state"]] += 1
        counted[f"jobs:{job['client']}", "failed"] += job["failed"] and job["state"] == "completed"
    for task in facts.tasks:
        if task["state"] in {"ready", "dispatched", "running"}:
            counted[f"queue:{task['queue']}", task["state"]] += 1
    counted["callbacks", "pending"] = sum(row["state"] == "pending" for row in facts.callbacks)
    kept = {(row["scope"], row["name"]): row["value"] for row in facts.counters if row["scope"] != "tasks"}
    for key in sorted(kept.keys() | counted.keys()):
        if kept.get(key, 0) != counted[key]:
            yield f"the counter {key} is {kept.get(key, 0)}, and there are {counted[key]}"


def _grouped(rows: Sequence[Row]) -> defaultdict[int, list[Row]]:
    by_job: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_job[row["job_id"]].append(row)
    return by_job
