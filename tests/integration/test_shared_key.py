"""Engines on one PostgreSQL that were given no sealing key, and what becomes of it when one is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskengine.app.sealing import FILE, engine_sealer, worker_sealer
from taskengine.clock import SystemClock
from taskengine.domain.errors import InvalidRequest
from taskengine.sealing import new_key
from taskengine.settings import Settings, load_settings
from taskengine.stores import open_store
from tests.support.postgres import PostgresServer


def settings_of(folder: Path, url: str, key: str | None = None) -> Settings:
    """Of an engine with a data directory of its own."""
    given = {"data_dir": folder, "database_url": url, **({"sealing_key": key} if key else {})}
    return load_settings(given, env={})


async def test_engines_without_a_key_open_what_the_others_seal(tmp_path: Path, postgres: PostgresServer) -> None:
    """Each with its own data directory, and a worker beside the second one; until a key is configured."""
    url = await postgres.new_database()
    one, two, three = (settings_of(tmp_path / name, url) for name in ("one", "two", "three"))
    async with open_store(url, SystemClock()) as store:
        first, second = await engine_sealer(one, store), await engine_sealer(two, store)
        assert second.open(first.seal("a secret", "acme"), "acme") == "a secret"
        assert worker_sealer(two).open(first.seal("a secret", "acme"), "acme") == "a secret"
        assert (await engine_sealer(two, store)).ids == second.ids

        former, key = (tmp_path / "one" / FILE).read_text().strip(), new_key()
        with pytest.raises(InvalidRequest, match=f"sealed with the key {first.ids[0]}"):
            await engine_sealer(settings_of(tmp_path / "four", url, key), store)
        configured = await engine_sealer(settings_of(tmp_path / "four", url, f"{key},{former}"), store)
        assert configured.open(first.seal("a secret", "acme"), "acme") == "a secret"
        assert former not in str(await store.meta("sealing_key_kept"))
        with pytest.raises(InvalidRequest, match=f"sealed with the key {configured.ids[0]}"):
            await engine_sealer(three, store)
