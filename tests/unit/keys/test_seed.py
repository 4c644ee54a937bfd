"""Keys derived from a seed."""

from __future__ import annotations

import base64
from uuid import UUID

import pytest

from taskengine.domain.errors import InputFault
from taskengine.domain.keys import KeyRequest, Label, derive_key
from taskengine.keys.granularity import KeysPer
from taskengine.keys.seed import SeedKeys, derive_key_id

PUBLIC_SEED = base64.b64decode("XVBovsmzhP9gRIZxWfFta3VVRPzVEWmJsazEJ46I")  # of PlayReady's public test service


def test_the_derivation_is_playreadys() -> None:
    """The key that PlayReady's test service has for this id; bytes of a seed beyond the thirtieth do not count."""
    key_id = UUID("8ba94ade-6eb9-449d-b44f-a5beefaf43b0").bytes
    assert derive_key(PUBLIC_SEED, key_id).hex() == "dbfd6922c321c4bb486f4a1c44097ed6"
    assert derive_key(PUBLIC_SEED + b"more", key_id) == derive_key(PUBLIC_SEED, key_id)


def test_ids_are_those_of_the_content_and_of_the_seed() -> None:
    """UUIDs of version 8; another content, scheme, label or seed has another."""
    first = derive_key_id(b"s" * 32, "film", "cenc", "SD")
    assert UUID(bytes=first).version == 8
    assert first == derive_key_id(b"s" * 32, "film", "cenc", "SD")
    others = {
        derive_key_id(b"t" * 32, "film", "cenc", "SD"),
        derive_key_id(b"s" * 32, "film2", "cenc", "SD"),
        derive_key_id(b"s" * 32, "film", "cbcs", "SD"),
        derive_key_id(b"s" * 32, "film", "cenc", "HD"),
    }
    assert len(others | {first}) == 5


def request(**known: bytes | None) -> KeyRequest:
    """A request for pictures and sound."""
    tracks = {Label.HD: None, Label.SD: None, Label.AUDIO: None, **{Label(name): key for name, key in known.items()}}
    return KeyRequest("film", "cenc", ["widevine"], tracks)


@pytest.mark.parametrize(("per", "count"), [(KeysPer.ASSET, 1), (KeysPer.KIND, 2), (KeysPer.RESOLUTION, 3)])
async def test_tracks_share_keys_as_configured(per: KeysPer, count: int) -> None:
    """One for all, for kinds, or for classes of resolution."""
    keys = await SeedKeys("local", b"s" * 32, per).keys(request())
    assert len({key.key for key in keys.values()}) == count


async def test_a_key_that_is_asked_for_by_its_id_must_be_the_seeds() -> None:
    """One of another granularity is; one of another seed is not, and the fault says which."""
    provider = SeedKeys("local", b"s" * 32, KeysPer.RESOLUTION)
    shared = derive_key_id(b"s" * 32, "film", "cenc", "ALL")
    assert (await provider.keys(request(HD=shared)))[Label.HD].key_id == shared
    strange = derive_key_id(b"t" * 32, "film", "cenc", "HD")
    with pytest.raises(InputFault, match=f"key_providers.local: the key {UUID(bytes=strange)} was not derived"):
        await provider.keys(request(HD=strange))
