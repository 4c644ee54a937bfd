"""Key providers by name, and what players are told."""

from __future__ import annotations

import base64
import stat
from pathlib import Path
from typing import cast

import pytest

from taskengine.domain.errors import InputFault, ResourceFault
from taskengine.domain.keys import KeyRequest, Label
from taskengine.keys import KeyProviders, KeysPer, ProviderConfig
from taskengine.ports import Outbound

REQUEST = KeyRequest("a film/1", "aes", [], {Label.AUDIO: None})
NOWHERE = cast(Outbound, None)  # these providers ask nobody


async def test_uris_of_keys_are_made_of_the_providers_templates() -> None:
    """Ids and the content's name, fit for a URI."""
    seed = base64.b64encode(bytes(32)).decode()
    config = ProviderConfig(
        "seed", KeysPer.ASSET, seed=seed, uris={"aes": "https://k.example/{content_id}/{label}/{key_id}"}
    )
    found = await KeyProviders({"local": config}, "x").open("local").keys(REQUEST, NOWHERE)
    key = found.keys[Label.AUDIO]
    assert found.key_uris["aes"] == {key.key_id: f"https://k.example/a%20film%2F1/ALL/{key.key_id.hex()}"}
    assert f'kid="{key.uuid}"'.encode() in found.document


async def test_the_licence_server_goes_into_playreadys_header() -> None:
    """As XML."""
    seed = base64.b64encode(bytes(32)).decode()
    config = ProviderConfig("seed", seed=seed, playready_la_url="https://l.example/?a=1&b=2")
    found = await KeyProviders({"local": config}, "x").open("local").keys(REQUEST, NOWHERE)
    assert found.playready_data == "<LA_URL>https://l.example/?a=1&amp;b=2</LA_URL>"


async def test_a_seed_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    """Kept in a file of its owner's; a second provider of that file derives the same keys."""
    config = ProviderConfig("seed", generated_seed=tmp_path / "key-seed")
    first = await KeyProviders({"local": config}, "x").open("local").keys(REQUEST, NOWHERE)
    assert stat.S_IMODE((tmp_path / "key-seed").stat().st_mode) == 0o600
    second = await KeyProviders({"local": config}, "x").open("local").keys(REQUEST, NOWHERE)
    assert first.keys == second.keys
    assert [path.name for path in tmp_path.iterdir()] == ["key-seed"]
    from_file = ProviderConfig("seed", seed_file=tmp_path / "key-seed")
    assert (await KeyProviders({"local": from_file}, "x").open("local").keys(REQUEST, NOWHERE)).keys == first.keys


async def test_a_worker_without_the_seed_says_so(tmp_path: Path) -> None:
    """Another one may have it; one that is too short is wrong for all."""
    provider = KeyProviders({"local": ProviderConfig("seed")}, "x").open("local")
    with pytest.raises(ResourceFault, match=r"key_providers\.local: it has no seed on this worker"):
        await provider.keys(REQUEST, NOWHERE)
    missing = KeyProviders({"local": ProviderConfig("seed", seed_file=tmp_path / "none")}, "x").open("local")
    with pytest.raises(ResourceFault, match="seed_file: it cannot be read"):
        await missing.keys(REQUEST, NOWHERE)
    short = KeyProviders({"local": ProviderConfig("seed", seed=base64.b64encode(b"short").decode())}, "x").open("local")
    with pytest.raises(InputFault, match=r"key_providers\.local\.seed: it must be at least 30 bytes in base64"):
        await short.keys(REQUEST, NOWHERE)


async def test_a_uri_that_would_break_out_of_a_playlist_is_refused() -> None:
    """Whoever wrote it."""
    seed = base64.b64encode(bytes(32)).decode()
    config = ProviderConfig("seed", seed=seed, uris={"aes": 'https://k.example/"\n#EXT-X-ENDLIST'})
    with pytest.raises(InputFault, match="characters that no URI has"):
        await KeyProviders({"local": config}, "x").open("local").keys(REQUEST, NOWHERE)
