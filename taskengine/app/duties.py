"""The engine's recurring duties, under the names that `GET /schedules` publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taskengine.api.services import Schedule
from taskengine.engine.duties import Duties
from taskengine.engine.janitor import ROUND_S

_CALLBACKS_S = 5.0  # the first delay after a failed delivery


def schedules(schedule_interval_s: float, heartbeat_s: float, duties: Duties) -> Sequence[Schedule]:
    """Each with its seconds; what has a timer of its own (a job's `run_at`, a callback's next try) is not waited for."""
    described = (
        Schedule(
            "queue_scheduled_jobs", "Scheduler", schedule_interval_s,
            "Queue scheduled jobs whose time has come and whose semaphore is open.",
        ),
        Schedule(
            "sweep_leases", "Reaper", heartbeat_s, "Take back the tasks of workers that fell silent.",
            first_in_s=heartbeat_s, queue="controller",
        ),
        Schedule(
            "deliver_callbacks", "CallbackDelivery", _CALLBACKS_S, "Deliver the callbacks that are due.",
            queue="callback",
        ),
        Schedule("clean_up", "Janitor", ROUND_S, "Delete ended jobs beyond their retention."),
        Schedule("clean_workspaces", "Janitor", ROUND_S, "Remove the workspaces of ended jobs."),
    )  # fmt: skip
    return [replace(one, active=duties.active(one.name), last_run=duties.last_run(one.name)) for one in described]
