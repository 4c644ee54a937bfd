"""The key providers of this machine's configuration, by name."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote
from uuid import UUID
from xml.sax.saxutils import escape

from taskengine.domain.errors import InputFault, ResourceFault
from taskengine.domain.keys import KeyRequest, KeySet
from taskengine.domain.words import nearest
from taskengine.keys.granularity import KeysPer
from taskengine.keys.seed import SeedKeys
from taskengine.keys.service import Service, ServiceKeys
from taskengine.keys.static import StaticKeys
from taskengine.media import cpix
from taskengine.ports import KeyProvider, Outbound

_LEAST_SEED_BYTES = 30
_URI = re.compile(r"[!#-~]{1,4000}")  # what may stand between the quotes of a playlist


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """A provider as the settings have it. URIs are templates over {key_id}, {key_uuid}, {content_id} and {label};
    `generated_seed`: where a seed is kept that is made when it is first needed, for a provider that has none."""

    kind: str
    keys_per: KeysPer = KeysPer.RESOLUTION
    seed: str | None = field(default=None, repr=False)
    seed_file: Path | None = None
    generated_seed: Path | None = None
    keys_file: Path | None = None
    service: Service | None = None
    uris: Mapping[str, str] = field(default_factory=dict)  # system (fairplay, aes, cenc) → template
    playready_la_url: str | None = None


class KeyProviders:
    """Opens providers by name."""

    def __init__(self, configs: Mapping[str, ProviderConfig], user_agent: str) -> None:
        self._configs, self._user_agent = configs, user_agent

    def open(self, name: str) -> KeyProvider:
        """The provider. InputFault where this worker's configuration has none of that name."""
        config = self._configs.get(name)
        if config is None:
            known = ", ".join(sorted(self._configs)) or "none"
            raise InputFault(
                f"key_provider: {name!r} is none of this worker's; known are {known}{nearest(name, self._configs)}"
            )
        return _Provider(name, config, self._source(name, config))

    def _source(self, name: str, config: ProviderConfig) -> Source:
        if config.kind == "static" and config.keys_file:
            return _alone(StaticKeys(name, config.keys_file))
        if config.kind == "cpix" and config.service:
            return ServiceKeys(name, config.service, config.keys_per, self._user_agent).keys

        async def derived(request: KeyRequest, _: Outbound) -> KeySet:
            seed = await asyncio.to_thread(_seed, name, config)
            return KeySet(await SeedKeys(name, seed, config.keys_per).keys(request))

        return derived


Source = Callable[[KeyRequest, Outbound], Awaitable[KeySet]]


def _alone(keys: StaticKeys) -> Source:
    async def source(request: KeyRequest, _: Outbound) -> KeySet:
        return KeySet(await keys.keys(request))

    return source


class _Provider:
    """Conforms to `ports.KeyProvider`: a source of keys, completed by what the settings say of players."""

    def __init__(self, name: str, config: ProviderConfig, source: Source) -> None:
        self.name, self.kind = name, config.kind
        self._config, self._source = config, source

    def tells(self, system: str) -> bool:
        """By its settings, or by its service."""
        return system in self._config.uris or self.kind == "cpix"

    async def keys(self, request: KeyRequest, outbound: Outbound) -> KeySet:
        """The keys of one set."""
        found = await self._source(request, outbound)
        uris = {system: {**self._uris(request, found, template), **found.key_uris.get(system, {})}
                for system, template in self._config.uris.items()}  # fmt: skip
        named = [uri for each in (uris, found.key_uris) for by_id in each.values() for uri in by_id.values()]
        if any(not _URI.fullmatch(uri) for uri in named):
            raise InputFault(f"key_providers.{self.name}: a key's URI has characters that no URI has")
        return replace(
            found,
            key_uris={**found.key_uris, **uris},
            playready_data=_la_url(self._config.playready_la_url),
            document=found.document or _document(request, found),
        )

    def _uris(self, request: KeyRequest, found: KeySet, template: str) -> Mapping[bytes, str]:
        return {key.key_id: expand(template, request.content_id, key.key_id, key.label) for key in found.keys.values()}


def expand(template: str, content_id: str, key_id: bytes, label: str) -> str:
    """A URI of a template."""
    values = {
        "key_id": key_id.hex(), "key_uuid": str(UUID(bytes=key_id)), "content_id": quote(content_id, safe=""),
        "label": label,
    }  # fmt: skip
    return template.format_map(values)


def _la_url(url: str | None) -> str:
    return f"<LA_URL>{escape(url)}</LA_URL>" if url else ""


def _document(request: KeyRequest, found: KeySet) -> bytes:
    ids = {label: key.key_id for label, key in found.keys.items()}
    return cpix.build(request.content_id, request.scheme, request.systems, ids, cpix.labels_of(found.keys))


def _seed(name: str, config: ProviderConfig) -> bytes:
    """The seed: base64 in the settings or a file of its own; a generated one otherwise."""
    if config.seed:
        return _decoded(config.seed, f"key_providers.{name}.seed")
    if config.seed_file:
        try:
            return _decoded(config.seed_file.read_text(encoding="ascii"), f"key_providers.{name}.seed_file")
        except (OSError, UnicodeDecodeError) as error:
            raise ResourceFault(f"key_providers.{name}.seed_file: it cannot be read") from error
    if config.generated_seed is None:
        raise ResourceFault(
            f"key_providers.{name}: it has no seed on this worker; set seed or seed_file, the same for all workers"
        )
    return _generated(config.generated_seed)


def _decoded(text: str, what: str) -> bytes:
    try:
        seed = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        seed = b""
    if len(seed) < _LEAST_SEED_BYTES:
        raise InputFault(f"{what}: it must be at least {_LEAST_SEED_BYTES} bytes in base64")
    return seed


def _generated(path: Path) -> bytes:
    """The seed of that file, which is made where it is not there, readable by its owner alone."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(32)) + b"\n")
        try:
            os.link(partial, path)  # whoever is first: the seed never changes
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return _decoded(path.read_text(encoding="ascii"), str(path))
