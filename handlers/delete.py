"""`delete_folder`, `delete` and `delete_files`: remove what was published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.support import ANY, OUTPUT_ROOT, OUTPUT_STORAGE, STRING, schema, storage_faults, tell, warn
from taskengine.ports import Storage, TaskContext

_NAMED = 10  # of the missing files, in the log


class DeleteFolder:
    """Removes a folder with all below it. There must be something in it, or the name is wrong."""

    name = "delete_folder"
    inputs: Mapping[str, Any] = schema({"folder": STRING, "storage": STRING}, {"output_root": ANY})
    outputs: Mapping[str, Any] = schema({"folder": STRING, "deleted": {"type": "integer"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: the folder's name, and how many files were deleted. InputFault where it holds none."""
        folder = str(context.inputs["folder"])
        storage = _storage(context)
        with storage_faults("folder"):
            files = await storage.list(folder)
            if not files and context.task.attempt == 1:  # a later attempt finds what an earlier one has left
                raise InputFault(f"folder: there are no files in {storage.full_path(folder)}")
        return await _delete(context, folder, storage)


class Delete:
    """Removes a folder with all below it, where there is one: what an `on_failure` step cleans up with."""

    name = "delete"
    inputs: Mapping[str, Any] = schema({"folder": STRING, "storage": OUTPUT_STORAGE}, {"output_root": OUTPUT_ROOT})
    outputs: Mapping[str, Any] = schema({"folder": STRING, "deleted": {"type": "integer"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: the folder's name, and how many files were deleted."""
        folder = str(context.inputs["folder"])
        return await _delete(context, folder, _storage(context))


class DeleteFiles:
    """Removes single files. One that is not there is as the client wants it: the log names it."""

    name = "delete_files"
    inputs: Mapping[str, Any] = schema({"files": {"type": "array"}, "storage": STRING}, {"output_root": ANY})
    outputs: Mapping[str, Any] = schema({
        "message": {"type": "array"}, "files": {"type": "array"}, "deleted": {"type": "integer"},
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: the files as they were asked for, their full paths, and how many there were."""
        wanted = [str(path) for path in context.inputs["files"]]
        storage = _storage(context)
        with storage_faults("files"):
            missing = [path for path in dict.fromkeys(wanted) if await storage.stat(path) is None]
            await storage.delete(wanted)
        if missing:
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            warn(context, f"not there: {', '.join(missing[:_NAMED])}{more}")
        deleted = len(set(wanted)) - len(missing)
        tell(context, f"{deleted} files are deleted")
        return {"message": wanted, "files": [storage.full_path(path) for path in wanted], "deleted": deleted}


async def _delete(context: TaskContext, folder: str, storage: Storage) -> Mapping[str, Any]:
    with storage_faults("folder"):
        files = await storage.list(folder)
        await storage.delete_folder(folder)
    tell(context, f"{storage.full_path(folder)} is deleted with {len(files)} files")
    return {"folder": folder, "deleted": len(files)}


def _storage(context: TaskContext) -> Storage:
    inputs = context.inputs
    return context.storage(str(inputs["storage"]), str(inputs.get("output_root") or "output_root"))
