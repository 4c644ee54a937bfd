"""The contract of stores: tenants, keys and settings."""

from __future__ import annotations

import pytest

from taskengine.domain.errors import NotFound
from taskengine.ports import ApiKey, Client, Store
from tests.support.clock import START
from tests.support.stores import Database

DEMO = Client("demo", "admin", {"weight": 2, "nested": {"a": [1.5]}}, START)


async def test_clients_are_saved_changed_and_listed(store: Store) -> None:
    """A client is known by its name; saving it again changes it."""
    other = Client("a-client", "viewer", {}, START + 1)
    await store.save_client(DEMO)
    await store.save_client(other)
    assert list(await store.clients()) == [other, DEMO]
    changed = Client("demo", "operator", {"weight": 3}, START)
    await store.save_client(changed)
    assert await store.client("demo") == changed
    assert await store.client("nobody") is None


async def test_keys_are_added_and_revoked(store: Store) -> None:
    """A client may hold several keys, each with an id of its own that is never used again."""
    await store.save_client(DEMO)
    first = await store.add_key("demo", "digest1", START)
    second = await store.add_key("demo", "digest2", START + 1)
    assert await store.revoke_key("demo", first, START + 2)
    assert not await store.revoke_key("other", second, START + 3)
    assert not await store.revoke_key("demo", 999, START + 3)
    assert await store.revoke_key("demo", first, START + 9)
    assert list(await store.keys("demo")) == [
        ApiKey(first, "demo", "digest1", START, START + 2),
        ApiKey(second, "demo", "digest2", START + 1, None),
    ]
    assert await store.keys() == await store.keys("demo")
    assert list(await store.keys("other")) == []


async def test_a_key_needs_a_client(store: Store) -> None:
    """Nobody has no keys."""
    with pytest.raises(NotFound, match="no client 'nobody'"):
        await store.add_key("nobody", "digest", START)


async def test_a_client_is_deleted_with_its_keys_and_settings(store: Store) -> None:
    """What belongs to others, and to the system, stays."""
    for client in (DEMO, Client("other", "viewer", {}, START)):
        await store.save_client(client)
        await store.add_key(client.name, "digest", START)
        await store.save_setting(client.name, "max_jobs", "4")
    await store.save_setting("", "max_jobs", "9")
    assert await store.delete_client("demo")
    assert not await store.delete_client("demo")
    assert [client.name for client in await store.clients()] == ["other"]
    assert [key.client for key in await store.keys()] == ["other"]
    assert await store.settings() == {("other", "max_jobs"): "4", ("", "max_jobs"): "9"}
    await store.save_client(DEMO)
    assert list(await store.keys("demo")) == [], "a new client of the same name has none of the old keys"


async def test_a_setting_says_whether_it_is_new(store: Store) -> None:
    """True where there was no value yet; the scopes do not meet."""
    assert await store.save_setting("", "max_jobs", "2")
    assert not await store.save_setting("", "max_jobs", "4")
    assert await store.save_setting("demo", "max_jobs", "1")
    assert await store.settings() == {("", "max_jobs"): "4", ("demo", "max_jobs"): "1"}


async def test_tenants_and_settings_outlive_a_restart(database: Database) -> None:
    """They are durable like jobs."""
    async with database.open() as store:
        await store.save_client(DEMO)
        key_id = await store.add_key("demo", "digest", START)
        await store.save_setting("", "max_jobs", "4")
    async with database.open() as store:
        assert await store.client("demo") == DEMO
        assert [key.id for key in await store.keys()] == [key_id]
        assert await store.settings() == {("", "max_jobs"): "4"}
