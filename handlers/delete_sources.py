"""`delete_sources`: delete the files that `ingest` listed, and their folder if it is then empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.handlers.support import FILE, STRING, load, schema, storage_faults, tell
from taskengine.media.sources import Sources
from taskengine.ports import TaskContext


class DeleteSources:
    """Runs after publication; what came into the folder or was changed in it meanwhile stays."""

    name = "delete_sources"
    inputs: Mapping[str, Any] = schema({"sources": FILE, "storage": STRING})
    outputs: Mapping[str, Any] = schema({"deleted": {"type": "integer"}, "folder_deleted": {"type": "boolean"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: how many files were deleted, and whether the folder was."""
        found = await load(context, context.inputs["sources"], "sources.json", Sources)
        storage = context.storage(str(context.inputs["storage"]), "source_root")
        with storage_faults("delete_source"):
            present = {file.path: file for file in await storage.list(found.folder, recursive=False)}
            unchanged = [file.path for file in found.listed if present.get(file.path) == file]
            await storage.delete(unchanged)
            left = await storage.list(found.folder)
            if not left:
                await storage.delete_folder(found.folder)
        if left:
            tell(context, f"the source folder {found.folder!r} stays: {len(left)} other or newer files are in it")
        return {"deleted": len(unchanged), "folder_deleted": not left}
