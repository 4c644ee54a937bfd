"""What a publication replaces beside the versions: kept in its version until it is complete, put back where it never is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping

from taskengine.domain.errors import NotFound
from taskengine.handlers.support import together
from taskengine.media import asset
from taskengine.ports import Storage

_FORMER = "former"
_NOTE = "replacing.json"
_AT_ONCE = 4


async def keep_former(
    storage: Storage, folder: str, version: str, names: Collection[str], manifests: Mapping[str, bytes]
) -> None:
    """Copy what lies under these names and the manifests' ones into the version, then note down what will be replaced."""
    base = _base(folder, version)
    replaced = [*sorted({*names, asset.METADATA}), *manifests]  # in the order in which it is
    there = {file.path for file in await storage.list(folder, recursive=False)}
    deeper = [f"{folder}/{name}" for name in replaced if "/" in name]
    there |= {path for path in deeper if await storage.stat(path) is not None}
    former = [name for name in replaced if f"{folder}/{name}" in there]
    copies = [storage.copy(f"{folder}/{name}", f"{base}/{_FORMER}/{name}") for name in former]
    await together(copies, _AT_ONCE)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in manifests.items()}
    await storage.write(f"{base}/{_NOTE}", json.dumps({"replaced": replaced, "manifests": digests}).encode())


async def forget_former(storage: Storage, folder: str, version: str) -> None:
    """The publication is complete."""
    base = _base(folder, version)
    await storage.delete([f"{base}/{_NOTE}"])
    await storage.delete_folder(f"{base}/{_FORMER}")
    if not await storage.folders(base):  # a switch to what is there makes no set
        await storage.delete_folder(base)


async def put_back(storage: Storage, folder: str, version: str) -> None:
    """What was there before the version's publication, its manifests first; nothing where that is complete or did not begin,
    or where another one came since."""
    base = _base(folder, version)
    note = await _read(storage, f"{base}/{_NOTE}")
    if note is None:
        return
    body = json.loads(note)
    former = {file.path.removeprefix(f"{base}/{_FORMER}/") for file in await storage.list(f"{base}/{_FORMER}")}
    if await _complete(storage, folder, body["manifests"]) or not await _own(storage, folder, version):
        return
    for name in reversed(body["replaced"]):
        if name in former:
            await storage.copy(f"{base}/{_FORMER}/{name}", f"{folder}/{name}")
        else:
            await storage.delete([f"{folder}/{name}"])
    await storage.delete([f"{base}/{_NOTE}"])


async def _complete(storage: Storage, folder: str, manifests: Mapping[str, str]) -> bool:
    for name, digest in manifests.items():
        found = await _read(storage, f"{folder}/{name}")
        if found is None or hashlib.sha256(found).hexdigest() != digest:
            return False
    return True


async def _own(storage: Storage, folder: str, version: str) -> bool:
    """Whether what describes the asset is this version's, or still what was there before it."""
    found = await _read(storage, f"{folder}/{asset.METADATA}")
    former = await _read(storage, f"{_base(folder, version)}/{_FORMER}/{asset.METADATA}")
    return found == former or asset.written_by(found or b"") == version


async def _read(storage: Storage, path: str) -> bytes | None:
    try:
        return await storage.read(path)
    except NotFound:
        return None


def _base(folder: str, version: str) -> str:
    return f"{folder}/{asset.VERSIONS}/{version}"
