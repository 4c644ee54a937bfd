"""The contract of stores: schedules that submit jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taskengine.domain.errors import NotFound
from taskengine.ports import Client, Recurring, Store
from tests.support.clock import START

NIGHTLY = Recurring(
    "demo", "nightly", "0 3 * * *", "Europe/Berlin", {"job": {"workflow": "chain"}, "parameters": {"x": 1}},
    active=True, next_at=START, created_at=START - 1,
)  # fmt: skip


@pytest.fixture
async def clients(store: Store) -> None:
    """Two who may have schedules."""
    for name in ("demo", "other"):
        await store.save_client(Client(name, "submitter", {}, START))


@pytest.mark.usefixtures("clients")
async def test_schedules_are_kept_by_client_and_name(store: Store) -> None:
    """Saving one again changes it and keeps its past; two clients may choose the same name."""
    assert await store.save_recurring(NIGHTLY)
    assert await store.save_recurring(replace(NIGHTLY, client="other"))
    fired = replace(NIGHTLY, next_at=START + 9, last_at=START + 1, last_job_id=5, last_error="no")
    assert await store.move_recurring(NIGHTLY, fired)
    changed = replace(
        NIGHTLY, cron="5 * * * *", body={"job": {}, "parameters": {}}, next_at=START + 7, created_at=START
    )
    assert not await store.save_recurring(changed)
    kept = replace(changed, created_at=NIGHTLY.created_at, last_at=START + 1, last_job_id=5, last_error="no")
    assert list(await store.recurring()) == [kept, replace(NIGHTLY, client="other")]
    assert await store.delete_recurring("demo", "nightly")
    assert not await store.delete_recurring("demo", "nightly")
    assert [one.client for one in await store.recurring()] == ["other"]


@pytest.mark.usefixtures("clients")
async def test_a_schedule_is_moved_on_once(store: Store) -> None:
    """Of two engines that submit the same time one writes; nobody does where it was changed or switched off meanwhile."""
    await store.save_recurring(NIGHTLY)
    moved = replace(NIGHTLY, next_at=START + 100, last_at=START, last_job_id=1)
    assert await store.move_recurring(NIGHTLY, moved)
    assert not await store.move_recurring(NIGHTLY, replace(moved, last_job_id=2))
    last = replace(moved, next_at=None)
    assert await store.move_recurring(moved, last)
    assert await store.move_recurring(last, moved)  # a time that is none is compared too
    assert await store.switch_recurring("demo", "nightly", active=False, next_at=START + 50)
    off = replace(moved, active=False, next_at=START + 50)
    assert not await store.move_recurring(off, moved)
    assert list(await store.recurring()) == [off]
    assert not await store.switch_recurring("demo", "another", active=False, next_at=None)


@pytest.mark.usefixtures("clients")
async def test_schedules_go_with_their_client(store: Store) -> None:
    """And there are none of nobody."""
    with pytest.raises(NotFound, match="no client 'nobody'"):
        await store.save_recurring(replace(NIGHTLY, client="nobody"))
    await store.save_recurring(NIGHTLY)
    await store.delete_client("demo")
    assert list(await store.recurring()) == []
