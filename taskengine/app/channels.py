"""Where engines read the definitions of channels from."""

from __future__ import annotations

from taskengine.api import ReadChannel
from taskengine.app.storages import build_storages
from taskengine.domain.errors import InvalidRequest, NotFound, StorageError
from taskengine.domain.paths import PathFault
from taskengine.engine.directory import Directory
from taskengine.media.virtual.channel import MAX_BYTES, definition_path
from taskengine.settings import Settings
from taskengine.storage.registry import OUTPUT_ROOT


def channel_reader(settings: Settings, directory: Directory) -> ReadChannel:
    """Reads from the default storage of a channel's client."""
    storages = build_storages(settings)

    async def read(client: str, name: str) -> bytes | None:
        entries = await directory.current()
        if client not in entries.tenants or "/" in name:
            return None
        config = entries.config(client)
        chosen = config.storage_by_default(settings.default_storage)
        try:
            storage = storages.open(chosen, OUTPUT_ROOT, config.roots.get(chosen))
            return await storage.read(definition_path(name), limit=MAX_BYTES)
        except (NotFound, PathFault):
            return None
        except InvalidRequest as error:
            raise StorageError(str(error)) from error

    return read
