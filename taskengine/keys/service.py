"""Keys from a service that speaks CPIX over HTTP, in the profile of SPEKE 2.0."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

from taskengine.domain.errors import InputFault, InternalFault, ResourceFault
from taskengine.domain.keys import SYSTEM_IDS, ContentKey, KeyRequest, KeySet, Label
from taskengine.keys.encrypted import load_certificate, load_private_key, opened
from taskengine.keys.granularity import KeysPer
from taskengine.media import cpix
from taskengine.ports import Outbound

_NAMESPACE = UUID("5d0e4a3c-6f0b-5c6e-9d0f-6d1c6c2d7a11")  # of the ids that are asked for
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Service:
    """Where it is and how it is spoken to. `private_key` opens encrypted documents, `certificate` says for whom."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    private_key: Path | None = None
    certificate: Path | None = None


class ServiceKeys:
    """A provider that asks. The ids follow from content, scheme and label: a repeated request is for the same keys."""

    def __init__(self, name: str, service: Service, keys_per: KeysPer, user_agent: str) -> None:
        self._name, self._service, self._keys_per, self._user_agent = name, service, keys_per, user_agent

    async def keys(self, request: KeyRequest, outbound: Outbound) -> KeySet:
        """The keys of these tracks, and what players are to be told. InputFault where the service does not give them."""
        labels = {label: self._keys_per.shared(label) for label in request.tracks}
        ids = {label: known or self._key_id(request, labels[label]) for label, known in request.tracks.items()}
        try:
            body = await asyncio.to_thread(self._document, request, ids, labels)
            answer = await outbound.post(self._service.url, body, headers=self._headers(), max_bytes=_MAX_BYTES)
            document = await asyncio.to_thread(cpix.read, answer.body)
            plain = {**document.plain, **await self._opened(document)}
            return KeySet(
                {label: _key(plain, key_id, labels[label]) for label, key_id in ids.items()},
                document.uris,
                document.pssh,
                document=await asyncio.to_thread(cpix.without_keys, answer.body),
            )
        except cpix.CpixFault as error:
            raise InputFault(f"key_providers.{self._name}: {error}") from error
        except (InputFault, InternalFault, ResourceFault) as error:
            raise type(error)(f"key_providers.{self._name}: {error}") from error

    def _key_id(self, request: KeyRequest, label: str) -> bytes:
        return uuid5(_NAMESPACE, f"{self._service.url}\0{request.content_id}\0{request.scheme}\0{label}").bytes

    def _document(self, request: KeyRequest, ids: Mapping[Label, bytes], labels: Mapping[Label, str]) -> bytes:
        certificate = load_certificate(self._service.certificate) if self._service.certificate else None
        return cpix.build(request.content_id, request.scheme, _systems(request), ids, labels, certificate)

    def _headers(self) -> Mapping[str, str]:
        return {
            "Content-Type": "application/xml", "Accept": "application/xml", "X-Speke-Version": "2.0",
            "X-Speke-User-Agent": self._user_agent, **self._service.headers,
        }  # fmt: skip

    async def _opened(self, document: cpix.Document) -> Mapping[bytes, bytes]:
        if not document.sealed:
            return {}
        if self._service.private_key is None:
            raise cpix.CpixFault("its keys are encrypted, and no private_key_file is configured")
        return await asyncio.to_thread(_open, document, self._service.private_key)


def _open(document: cpix.Document, path: Path) -> Mapping[bytes, bytes]:
    return opened(document, load_private_key(path))


def _systems(request: KeyRequest) -> list[str]:
    return [system for system in request.systems if system in SYSTEM_IDS]


def _key(plain: Mapping[bytes, bytes], key_id: bytes, label: str) -> ContentKey:
    if len(plain.get(key_id, b"")) != 16:
        raise cpix.CpixFault(f"it has no key of 16 bytes for {label}, {UUID(bytes=key_id)}")
    return ContentKey(label, key_id, plain[key_id])
