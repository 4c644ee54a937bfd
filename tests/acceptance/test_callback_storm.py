"""Callbacks in a storm: endpoints that fail in every way, while what delivers is killed."""

from __future__ import annotations

from pathlib import Path

from scripts.soaks.callbacks import beside_the_dead
from tests.support.storm import storm

SEED = 20


async def test_every_event_arrives_once_at_least_in_order_with_one_id(tmp_path: Path) -> None:
    """Failing, hanging, dripping, redirecting, flooding, resetting and restarting endpoints; kill -9 of the deliverer."""
    numbers = await storm(f"sqlite:///{tmp_path}/storm.db", tmp_path, events=1000, seed=SEED, every_s=1.5)
    assert numbers["kills"] >= 1
    assert numbers["requests"] > numbers["events"]


async def test_healthy_endpoints_do_not_wait_for_dead_ones(tmp_path: Path) -> None:
    """Half of a hundred endpoints are dead, and each try at one would take 15 s. (The bar of a second is the soak's: what else
    this machine does is not meant here.)"""
    numbers = await beside_the_dead(tmp_path, rounds=4, bar_s=5)
    assert numbers["healthy_p50_s"] <= numbers["healthy_p99_s"]
