"""Where the definitions of channels are kept: in the client's default storage."""

from __future__ import annotations

import json
from collections.abc import Mapping

from taskengine.domain.errors import NotFound
from taskengine.handlers.clips import Documents
from taskengine.handlers.support import in_thread, storage_faults, warn
from taskengine.media.virtual import channel as channels
from taskengine.media.virtual.model import Channel
from taskengine.ports import Storage, TaskContext

_SOURCES = "sources.json"


class Definitions:
    """One channel of a client."""

    def __init__(self, context: TaskContext, content_id: str, storage: str) -> None:
        self._context, self.name = context, channels.channel_name(content_id)
        self._storage: Storage = context.storage(storage)

    @property
    def path(self) -> str:
        """The storage's own name of the definition."""
        return self._storage.full_path(channels.definition_path(self.name))

    def url(self, public_url: str, content_id: str) -> str:
        """Where players are shown the channel."""
        return channels.channel_url(public_url, self._context.task.client, content_id)

    async def read(self) -> Channel | None:
        """As it is; None where there is none, or none that is understood."""
        with storage_faults("the channel's definition"):
            try:
                data = await self._storage.read(channels.definition_path(self.name), limit=channels.MAX_BYTES)
            except NotFound:
                return None
        try:
            return await in_thread(channels.load, data)
        except ValueError:
            warn(self._context, f"{self.path} is no definition of a channel: it is replaced")
            return None

    async def write(self, channel: Channel) -> None:
        """In one piece: an engine reads the old one or the new one."""
        data = await in_thread(channels.dump, channel)
        with storage_faults("the channel's definition"):
            await self._storage.write(channels.definition_path(self.name), data)

    async def remove(self) -> None:
        """All of it."""
        with storage_faults("the channel's definition"):
            await self._storage.delete_folder(channels.folder_path(self.name))

    async def known_sources(self) -> Mapping[str, Documents]:
        """What was read of the channel's sources, by URL."""
        with storage_faults("the channel's sources"):
            try:
                data = await self._storage.read(self._sources, limit=channels.MAX_BYTES)
            except NotFound:
                return {}
        found = await in_thread(json.loads, data)
        return {url: {at: (pair[0], pair[1]) for at, pair in documents.items()} for url, documents in found.items()}

    async def keep_sources(self, sources: Mapping[str, Documents]) -> None:
        """For the next assembly."""
        data = await in_thread(lambda: json.dumps(sources, ensure_ascii=False).encode())
        with storage_faults("the channel's sources"):
            await self._storage.write(self._sources, data)

    @property
    def _sources(self) -> str:
        return f"{channels.folder_path(self.name)}/{_SOURCES}"
