"""`place_images`: put preview sheets and their WebVTT index into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.support import ANY, FILE, STRING, load, schema, storage_faults
from taskengine.media.names import file_name
from taskengine.media.thumbnails import sheet_name, webvtt
from taskengine.media.tracks import Images
from taskengine.ports import TaskContext


class PlaceImages:
    """The sheets first: the index names nothing that is not there."""

    name = "place_images"
    inputs: Mapping[str, Any] = schema(
        {"images": FILE, "prefix": STRING, "folder": STRING, "storage": STRING}, {"output_root": ANY}
    )
    outputs: Mapping[str, Any] = schema({"names": {"type": "array"}, "files": {"type": "array"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: the files' `names`, the index first, and `files`: their full paths."""
        inputs = context.inputs
        storage = context.storage(str(inputs["storage"]), str(inputs.get("output_root") or "output_root"))
        prefix = file_name(str(inputs["prefix"]), "filename_prefix")
        images = await load(context, inputs["images"], "images.json", Images)
        if images.previews is None:
            raise InputFault("images: there are no previews in it")
        names = [sheet_name(prefix, number) for number in range(1, len(images.sheets) + 1)]
        paths = {name: f"{inputs['folder']}/{name}".lstrip("/") for name in [f"{prefix}.vtt", *names]}
        with storage_faults("output_folder"):
            for number, (name, sheet) in enumerate(zip(names, images.sheets, strict=True), start=1):
                await storage.store(await context.workspace.fetch(sheet, f"sheet_{number}.jpg"), paths[name])
            await storage.write(paths[f"{prefix}.vtt"], webvtt(images.previews, prefix).encode())
        return {"names": list(paths), "files": [storage.full_path(path) for path in paths.values()]}
