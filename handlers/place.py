"""`place`: put a file that was made of an asset beside it, or into another folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.domain.errors import InputFault, NotFound
from taskengine.handlers.packaging import digest
from taskengine.handlers.publication import UploadProgress
from taskengine.handlers.support import ANY, BOOLEAN, FILE, STRING, in_thread, schema, storage_faults
from taskengine.media import asset
from taskengine.media.names import file_name
from taskengine.ports import Storage, TaskContext


class Place:
    """Stores the file; the `metadata.json` of an asset in that folder lists it from then on. With `empty_target` all else that
    is there goes."""

    name = "place"
    inputs: Mapping[str, Any] = schema(
        {"file": FILE, "name": STRING, "folder": STRING, "storage": STRING},
        {"output_root": ANY, "command": ANY, "empty_target": BOOLEAN},
    )
    outputs: Mapping[str, Any] = schema({"name": STRING, "files": {"type": "array"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: the file's `name`, and `files`: its full path."""
        inputs = context.inputs
        storage = context.storage(str(inputs["storage"]), str(inputs.get("output_root") or "output_root"))
        name = file_name(str(inputs["name"]), "name")
        folder = str(inputs["folder"])
        path = f"{folder}/{name}".lstrip("/")
        local = await context.workspace.fetch(inputs["file"], "file")
        entry: dict[str, Any] = {
            "path": name, "size": await in_thread(lambda: local.stat().st_size), "sha256": await in_thread(digest, local),
        }  # fmt: skip
        with storage_faults("output_folder"):
            known = None if inputs.get("empty_target") else await _description(storage, folder)
            if known is not None and (stem := asset.stem_of(known)) and asset.taken(stem, name):
                raise InputFault(
                    f"name: {name!r} is the name of another file of the asset in {storage.full_path(folder)}"
                )
            await storage.store(local, path, UploadProgress(context, entry["size"]))
            if inputs.get("empty_target"):
                await _empty(storage, folder, path)
            elif known is not None and (changed := asset.with_file(known, entry, inputs.get("command"))) is not None:
                await storage.write(f"{folder}/{asset.METADATA}".lstrip("/"), changed)
        return {"name": name, "files": [storage.full_path(path)]}


async def _empty(storage: Storage, folder: str, kept: str) -> None:
    """Remove all else that is in the folder."""
    await storage.delete([file.path for file in await storage.list(folder, recursive=False) if file.path != kept])
    for name in await storage.folders(folder):
        await storage.delete_folder(f"{folder}/{name}".lstrip("/"))


async def _description(storage: Storage, folder: str) -> bytes | None:
    try:
        return await storage.read(f"{folder}/{asset.METADATA}".lstrip("/"))
    except NotFound:
        return None
