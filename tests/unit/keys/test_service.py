"""Keys of a key service over HTTP, through the guarded client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from lxml import etree

from taskengine.domain.errors import InputFault, InternalFault
from taskengine.domain.keys import KeyRequest, Label
from taskengine.keys import KeyProviders, KeysPer, ProviderConfig, Service
from taskengine.net import Fetcher, GuardedClients, networks
from taskengine.ports import KeyProvider, Outbound
from tests.support.key_service import KeyService, make_recipient

REQUEST = KeyRequest("a film", "cbcs", ["fairplay", "widevine"], {Label.SD: None, Label.HD: None, Label.AUDIO: None})


@pytest.fixture
async def service() -> AsyncIterator[KeyService]:
    """A key service."""
    async with KeyService() as running:
        yield running


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    """A way to loopback."""
    async with GuardedClients() as clients:
        yield Fetcher(clients, networks(["127.0.0.0/8"]), user_agent="tests")


def provider(service: KeyService, **changes: Any) -> KeyProvider:
    """The engine's side of it."""
    at = replace(Service(service.url, {"Authorization": "Bearer sesame"}), **changes)
    config = ProviderConfig(
        "cpix", KeysPer.KIND, service=at, uris={"fairplay": "skd://{key_id}", "aes": "https://own.example/{key_uuid}"}
    )
    return KeyProviders({"drm": config}, "task-engine/tests").open("drm")


async def test_keys_boxes_and_uris_come_from_the_service(service: KeyService, outbound: Outbound) -> None:
    """Asked for as SPEKE 2.0 says; the same request is for the same keys."""
    found = await provider(service).keys(REQUEST, outbound)
    assert found.keys[Label.SD] == found.keys[Label.HD]  # one key for all pictures
    assert {str(UUID(bytes=key.key_id)): key.key for key in found.keys.values()} == service.keys
    [video, audio] = dict.fromkeys(key.key_id for key in found.keys.values())
    assert found.key_uris["fairplay"] == {key: f"https://service.example/{UUID(bytes=key)}" for key in (video, audio)}
    assert found.pssh.keys() == {video, audio}
    assert b"PlainValue" not in found.document
    assert found.document.count(b"<cpix:ContentKey ") == 2
    headers = service.headers[0]
    assert (headers["X-Speke-Version"], headers["Content-Type"]) == ("2.0", "application/xml")
    assert headers["X-Speke-User-Agent"] == "task-engine/tests"
    again = await provider(service).keys(REQUEST, outbound)
    assert again.keys == found.keys
    known = KeyRequest("a film", "cbcs", [], {Label.HD: video})
    assert (await provider(service).keys(known, outbound)).keys[Label.HD] == found.keys[Label.HD]


async def test_encrypted_documents_are_opened(service: KeyService, outbound: Outbound, tmp_path: Path) -> None:
    """The request says for whom; no plain key goes over the wire."""
    key, certificate = make_recipient(tmp_path)
    found = await provider(service, private_key=key, certificate=certificate).keys(REQUEST, outbound)
    assert {str(UUID(bytes=each.key_id)): each.key for each in found.keys.values()} == service.keys
    assert etree.fromstring(service.requests[0]).find(".//{*}X509Certificate") is not None
    assert b"EncryptedValue" not in found.document
    assert b"X509Certificate" not in found.document


async def test_encrypted_documents_that_are_not_for_us_or_were_changed_are_refused(
    service: KeyService, outbound: Outbound, tmp_path: Path
) -> None:
    """Another recipient's, one whose codes are wrong, and one for which there is no key at all."""
    key, certificate = make_recipient(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = make_recipient(tmp_path / "other")
    with pytest.raises(
        InputFault, match=r"key_providers\.drm: its keys are encrypted, and not for the configured private key"
    ):
        await provider(service, private_key=other, certificate=certificate).keys(REQUEST, outbound)
    with pytest.raises(InputFault, match="no private_key_file is configured"):
        await provider(service, certificate=certificate).keys(REQUEST, outbound)
    service.spoil_codes = True
    with pytest.raises(InputFault, match="authentication code of a content key is missing or wrong"):
        await provider(service, private_key=key, certificate=certificate).keys(REQUEST, outbound)


async def test_a_service_that_refuses_or_fails_is_told_apart(service: KeyService, outbound: Outbound) -> None:
    """The first is never asked again, the second is; neither shows the credentials."""
    with pytest.raises(InputFault, match=r"key_providers\.drm: .*401") as refused:
        await provider(service, headers={"Authorization": "Bearer wrong-sesame"}).keys(REQUEST, outbound)
    assert "wrong-sesame" not in str(refused.value)
    service.status = 503
    with pytest.raises(InternalFault, match=r"key_providers\.drm: .*503"):
        await provider(service).keys(REQUEST, outbound)


async def test_a_service_in_a_network_that_is_not_allowed_is_not_reached(service: KeyService) -> None:
    """The guard of all URLs holds for it too."""
    async with GuardedClients() as clients:
        outbound = Fetcher(clients, (), user_agent="tests")
        with pytest.raises(InputFault, match=r"key_providers\.drm"):
            await provider(service).keys(REQUEST, outbound)
    assert service.requests == []
