"""`discard`: remove what a failed job has put beside an asset and nothing points into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.domain.errors import NotFound
from taskengine.handlers.replacing import put_back
from taskengine.handlers.support import ANY, STRING, schema, storage_faults
from taskengine.media import asset
from taskengine.ports import Storage, TaskContext


class Discard:
    """Clean-up of a failed job: what it replaced comes back, and its own versions go, but for one that an active manifest
    names already."""

    name = "discard"
    inputs: Mapping[str, Any] = schema(
        {"content_id": STRING, "output_folder": STRING, "storage": STRING}, {"output_root": ANY, "manifest_name": ANY}
    )
    outputs: Mapping[str, Any] = schema({"removed": {"type": "array"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `removed`, the names of the versions."""
        inputs = context.inputs
        storage = context.storage(str(inputs["storage"]), str(inputs.get("output_root") or "output_root"))
        folder = str(inputs["output_folder"])
        stem = asset.manifest_stem(str(inputs["content_id"]), inputs.get("manifest_name"))
        with storage_faults("output_folder"):
            versions = await storage.folders(f"{folder}/{asset.VERSIONS}")
            own = {version for version in versions if version.startswith(f"{context.task.job_id}-")}
            for version in sorted(own, key=_attempt, reverse=True):
                await put_back(storage, folder, version)
            active = await _active(storage, folder, stem)
            for version in sorted(own - active):
                await storage.delete_folder(f"{folder}/{asset.VERSIONS}/{version}")
        return {"removed": sorted(own - active)}


def _attempt(version: str) -> int:
    return int(version.rpartition("-")[2])


async def _active(storage: Storage, folder: str, stem: str) -> frozenset[str]:
    found: frozenset[str] = frozenset()
    for name in (f"{stem}.m3u8", f"{stem}.mpd"):
        try:
            found |= asset.versions_in((await storage.read(f"{folder}/{name}")).decode(errors="replace"))
        except NotFound:
            continue
    return found
