"""Sealing with keys, and where the keys come from."""

from __future__ import annotations

import asyncio
import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.app.sealing import FILE, engine_sealer, keep_to_key, worker_sealer
from taskengine.clock import SystemClock
from taskengine.domain.errors import InvalidRequest, SecretUnavailable
from taskengine.sealing import KeySealer, new_key, parse_keys
from taskengine.settings import Settings, load_settings
from taskengine.stores import open_store

OLD, NEW = new_key(), new_key()


def _settings(data_dir: Path, key: str | None = None) -> Settings:
    given = {"data_dir": data_dir} | ({"sealing_key": key} if key else {})
    return load_settings(given, env={})


@given(st.text(), st.text())
def test_what_is_sealed_opens_for_its_owner_alone(secret: str, owner: str) -> None:
    """And shows nothing of the secret."""
    sealer = KeySealer(parse_keys(OLD))
    text = sealer.seal(secret, owner)
    assert sealer.open(text, owner) == secret
    assert len(secret) < 4 or secret not in text
    with pytest.raises(SecretUnavailable, match="damaged, or belongs to another client"):
        sealer.open(text, owner + "x")


def test_equal_secrets_are_equal_sealed_and_no_two_others_are() -> None:
    """So that endpoints can be told apart without being opened."""
    sealer = KeySealer(parse_keys(OLD))
    texts = {sealer.seal(secret, owner) for secret in ("a", "b") for owner in ("x", "y")}
    assert len(texts) == 4
    assert sealer.seal("a", "x") in texts


@pytest.mark.parametrize("damage", ["", "x", "A" * 40, "!"])
def test_what_is_damaged_does_not_open(damage: str) -> None:
    """Cut, replaced, or no base64 at all."""
    sealer = KeySealer(parse_keys(OLD))
    with pytest.raises(SecretUnavailable, match="damaged"):
        sealer.open(f"{sealer.ids[0]}.{damage}", "x")


def test_keys_are_rotated_by_putting_a_new_one_before_the_old() -> None:
    """The new one seals, both open; without the old one, its secrets say which key they need."""
    before, both, after = (KeySealer(parse_keys(keys)) for keys in (OLD, f"{NEW}, {OLD}", NEW))
    text = before.seal("s", "x")
    assert both.open(text, "x") == "s"
    assert after.open(both.seal("s", "x"), "x") == "s"
    with pytest.raises(SecretUnavailable, match=f"sealed with the key '{before.ids[0]}', and the ones here are"):
        after.open(text, "x")


def test_without_a_key_nothing_is_sealed() -> None:
    """A secret is refused, not kept in plain."""
    with pytest.raises(SecretUnavailable, match="there is no sealing key"):
        KeySealer().seal("s", "x")


@pytest.mark.parametrize(
    "text", ["", " , ", "hunter2hunter2", "00" * 31, base64.b64encode(b"x" * 33).decode(), "é" * 44]
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    """The message says what a key looks like."""
    with pytest.raises(ValueError, match="32 bytes in base64 or 64 hexadecimal digits") as raised:
        parse_keys(text)
    assert not text.strip(" ,") or text not in str(raised.value)


def test_hexadecimal_and_base64_name_the_same_key() -> None:
    """Also base64 as URLs have it."""
    key = bytes(range(224, 256))
    spellings = [key.hex(), base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode().rstrip("=")]
    assert len({one.id for spelling in spellings for one in parse_keys(spelling)}) == 1


async def test_an_engine_makes_its_key_once_and_a_worker_beside_it_reads_it(tmp_path: Path) -> None:
    """Readable by its owner alone; a worker elsewhere has none."""
    settings = _settings(tmp_path / "data")
    assert worker_sealer(settings).ids == []
    async with open_store(f"sqlite:///{tmp_path}/test.db", SystemClock()) as store:
        first = await engine_sealer(settings, store)
        assert stat.S_IMODE((tmp_path / "data" / FILE).stat().st_mode) == 0o600
        assert (await engine_sealer(settings, store)).ids == first.ids == worker_sealer(settings).ids
        assert await store.meta("sealing_key_kept") is None
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE]


async def test_a_configured_key_counts_before_the_file(tmp_path: Path) -> None:
    """And no file is made for it."""
    settings = _settings(tmp_path / "data", OLD)
    async with open_store(f"sqlite:///{tmp_path}/test.db", SystemClock()) as store:
        assert (await engine_sealer(settings, store)).ids == worker_sealer(settings).ids == [parse_keys(OLD)[0].id]
    assert not (tmp_path / "data").exists()


def test_a_wrong_setting_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    """Told with all others, without its value."""
    with pytest.raises(InvalidRequest) as raised:
        _settings(tmp_path, "hunter2")
    [fault] = raised.value.faults
    assert "sealing_key" in f"{fault.path} {fault.message}"
    assert "64 hexadecimal digits" in fault.message
    assert "hunter2" not in fault.message


async def test_engines_of_one_database_must_share_the_key(tmp_path: Path) -> None:
    """The first one's is noted; another key is refused, unless the noted one comes with it: then it is the new one."""
    old, new, both = (KeySealer(parse_keys(keys)) for keys in (OLD, NEW, f"{NEW},{OLD}"))
    async with open_store(f"sqlite:///{tmp_path}/test.db", SystemClock()) as store:
        await asyncio.gather(keep_to_key(store, old), keep_to_key(store, old))
        with pytest.raises(InvalidRequest, match=f"sealed with the key {old.ids[0]}, and this engine has {new.ids[0]}"):
            await keep_to_key(store, new)
        await keep_to_key(store, both)
        assert await store.meta("sealing_key") == new.ids[0]
        await keep_to_key(store, new)
