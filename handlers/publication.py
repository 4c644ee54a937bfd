"""How an asset becomes visible: files put beside the active version, then the manifests switched, then what nothing
points into any more removed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InternalFault, NotFound, StorageError
from taskengine.handlers.packaging import digest
from taskengine.handlers.replacing import forget_former, keep_former, put_back
from taskengine.handlers.support import in_thread, through, together
from taskengine.media import asset
from taskengine.media.packager import MASTER, MPD
from taskengine.media.protection import Active
from taskengine.media.tracks import Package, PackagedFile, PackagedSet, SharedFile
from taskengine.ports import Storage, TaskContext, Told

FILES_LIMIT = 40 * 1024  # of the 64 KiB that outputs may have
UPLOADED = 0.9  # of a publication is done when its files are there


@dataclass(slots=True)
class Target:
    """Where one attempt publishes: the folder of the asset and its version in it, and what was put there."""

    storage: Storage
    folder: str
    version: str
    told: Told | None = None  # of the bytes that are sent
    put: list[dict[str, Any]] = field(default_factory=list)  # path, size, sha256; relative to the folder

    @property
    def base(self) -> str:
        """Of this version, relative to the folder."""
        return f"{asset.VERSIONS}/{self.version}"

    def path(self, relative: str) -> str:
        """The logical path of a file of the asset."""
        return f"{self.folder}/{relative}"

    def full_path(self, relative: str) -> str:
        """The storage's own name of a file of the asset."""
        return self.storage.full_path(self.path(relative))

    async def put_file(self, source: Path, relative: str, sha256: str | None = None) -> None:
        """Put a local file."""
        checksum = sha256 or await in_thread(digest, source)
        size = await in_thread(lambda: source.stat().st_size)
        await self.storage.store(source, self.path(relative), self.told)
        self.put.append({"path": relative, "size": size, "sha256": checksum})

    async def put_bytes(self, data: bytes, relative: str) -> None:
        """Put a small file."""
        await self.storage.write(self.path(relative), data)
        self.put.append(entry(data, relative))

    async def text(self, relative: str) -> str:
        """A file of the asset as it is now; "" where there is none."""
        try:
            return (await self.storage.read(self.path(relative))).decode(errors="replace")
        except NotFound:
            return ""


def entry(data: bytes, relative: str) -> dict[str, Any]:
    """A small file as `metadata.json` lists it."""
    return {"path": relative, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


class UploadProgress:
    """The task's progress by the bytes that are sent of `total`."""

    def __init__(self, context: TaskContext, total: int, *, share: float = UPLOADED) -> None:
        self._context, self._total, self._share, self._sent = context, max(1, total), share, 0

    def __call__(self, sent: int) -> None:
        """So many more are there."""
        self._sent += sent
        self._context.report_progress(self._share * min(1.0, self._sent / self._total))


def package_size(package: Package | None) -> int:
    """Bytes of all files of its sets."""
    return sum(file.size for made in (package.sets if package else ()) for file in made.files)


async def begin(context: TaskContext, folder: str) -> Target:
    """Where this attempt publishes; what earlier ones left half done is undone."""
    inputs = context.inputs
    storage = context.storage(str(inputs["storage"]), str(inputs.get("output_root") or "output_root"))
    for version in reversed(earlier_tries(context)):
        await put_back(storage, folder, version)
    return Target(storage, folder, asset.version_name(context.task.job_id, context.task.attempt))


def earlier_tries(context: TaskContext) -> Sequence[str]:
    """Their versions."""
    return [asset.version_name(context.task.job_id, attempt) for attempt in range(1, context.task.attempt)]


@asynccontextmanager
async def undone_if_it_fails(target: Target) -> AsyncIterator[None]:
    """Nothing points into the new version yet: what was replaced beside it comes back, and where the attempt is called off,
    the version goes."""
    try:
        yield
    except BaseException as fault:
        with suppress(StorageError, NotFound):
            await through(put_back(target.storage, target.folder, target.version))
            if isinstance(fault, asyncio.CancelledError):
                await through(target.storage.delete_folder(target.path(target.base)))
        raise


async def upload_set(context: TaskContext, target: Target, made: PackagedSet) -> None:
    """Segments, then playlists, then the master and the MPD of the set; all checked."""
    base = f"{target.base}/{made.name}"
    waves: dict[int, list[PackagedFile]] = {0: [], 1: [], 2: []}
    for file in made.files:
        waves[_wave(file.path)].append(file)
    for _, files in sorted(waves.items()):
        await together([_upload(context, target, made.name, file) for file in files])
    stored = {file.path: file.size for file in await target.storage.list(target.path(base))}
    for file in made.files:
        found = stored.get(target.path(f"{base}/{file.path}"))
        if found != file.size:
            raise InternalFault(f"{base}/{file.path}: expected {file.size} bytes after upload, found {found}")


def _wave(path: str) -> int:
    if path in {MASTER, MPD}:
        return 2
    return 1 if path.endswith(".m3u8") else 0


async def _upload(context: TaskContext, target: Target, name: str, file: PackagedFile) -> None:
    local = await context.workspace.fetch(file.file, f"{name}-{file.path.replace('/', '-')}")
    await target.put_file(local, f"{target.base}/{name}/{file.path}", file.sha256)


async def replace_files(
    context: TaskContext, target: Target, files: Mapping[str, Mapping[str, Any] | bytes], names: Mapping[str, bytes]
) -> None:
    """Put files (of the workspace, or what is in them) beside the versions; what they, `metadata.json` and the manifests
    (`names`) replace is kept."""
    await keep_former(target.storage, target.folder, target.version, files.keys(), names)
    for number, (name, file) in enumerate(files.items(), start=1):
        if isinstance(file, bytes):
            await target.put_bytes(file, name)
        else:
            await target.put_file(await context.workspace.fetch(file, f"beside_{number}"), name)


async def manifests(
    target: Target, active: Active, versions: Mapping[str, str], stem: str, isms: Iterable[str]
) -> Mapping[str, bytes]:
    """The active manifests, which point into their sets (`versions`: set → version it lies in), last; before them those of
    the `.ism` folders."""
    from taskengine.media import dash, hls  # their parsers are not needed before

    sources = [("m3u8", active.hls, MASTER, hls.with_prefix)]
    sources += [("mpd", active.dash, MPD, dash.with_prefix)] if active.dash else []
    bases = {name: f"{asset.VERSIONS}/{versions[name]}/{name}/" for _, name, _, _ in sources}
    texts = {kind: await _text(target, f"{bases[name]}{source}") for kind, name, source, _ in sources}
    made: dict[str, bytes] = {}
    for place, above in [*((f"{ism}/", "../") for ism in sorted(isms)), (stem, "")]:
        for kind, name, _, moved in sources:
            made[f"{place}.{kind}"] = moved(texts[kind], above + bases[name]).encode()
    return made


async def custom_manifests(target: Target, name: str, made: PackagedSet) -> Mapping[str, bytes]:
    """Manifests of a name that the client chooses, over one more set of this version: `x.m3u8` and `x.mpd` for either of
    them; any other name is a folder of manifests, as an `.ism` one."""
    from taskengine.media import dash, hls  # their parsers are not needed before

    stem, dot, kind = name.rpartition(".")
    place, above = (stem, "") if dot and kind in {"m3u8", "mpd"} else (f"{name}/", "../")
    base = f"{target.base}/{made.name}/"
    found = {}
    for ending, source, moved in (("m3u8", MASTER, hls.with_prefix), ("mpd", MPD, dash.with_prefix)):
        found[f"{place}.{ending}"] = moved(await _text(target, f"{base}{source}"), above + base).encode()
    return found


async def verify_shared(target: Target, files: Sequence[SharedFile]) -> None:
    """What the asset refers to beside all assets is there, in its size. InternalFault where it is not."""
    stored = await together([target.storage.stat(file.path) for file in files], 16)
    for file, found in zip(files, stored, strict=True):
        size = found.size if found else 0
        if size != file.size:
            raise InternalFault(f"{file.path}: expected {file.size} shared bytes, found {size}")


async def everything_else(target: Target, names: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """(the versions, the files and folders) that the folder has and that are not of this version: neither `names` nor what
    was put. Folders have a slash after them."""
    own = {name.partition("/")[0] for name in (*names, asset.METADATA, *(str(file["path"]) for file in target.put))}
    own.add(asset.VERSIONS)
    files = await target.storage.list(target.folder, recursive=False)
    found = {file.path.rpartition("/")[2] for file in files} - own
    folders = {f"{name}/" for name in await target.storage.folders(target.folder) if name not in own}
    return await versions_there(target), frozenset(found | folders)


async def _text(target: Target, relative: str) -> str:
    return (await target.storage.read(target.path(relative))).decode()


async def switch(
    context: TaskContext, target: Target, made: Mapping[str, bytes], *, superseded: Iterable[str], gone: Iterable[str]
) -> None:
    """Replace the active manifests, then remove the `gone` files and folders of manifests beside the versions, then the
    versions that nothing points into any more (`superseded`, and what earlier tries of this job left)."""
    for name, data in made.items():
        await target.put_bytes(data, name)
    for name in sorted(gone):
        if name.endswith((".ism", "/")):
            await target.storage.delete_folder(target.path(name.rstrip("/")))
        else:
            await target.storage.delete([target.path(name)])
    for version in sorted({*superseded, *earlier_tries(context)} - {target.version}):
        await target.storage.delete_folder(target.path(f"{asset.VERSIONS}/{version}"))
    await forget_former(target.storage, target.folder, target.version)


async def former_versions(target: Target, stem: str) -> frozenset[str]:
    """The versions that belong to what is published now, as far as they are still there."""
    texts = [await target.text(f"{stem}.{kind}") for kind in ("m3u8", "mpd")]
    known = asset.versions_of((await target.text(asset.METADATA)).encode())
    return known.union(*[asset.versions_in(text) for text in texts]) & await versions_there(target)


async def versions_there(target: Target) -> frozenset[str]:
    """Those that the folder has."""
    return frozenset(await target.storage.folders(target.path(asset.VERSIONS)))


async def former_files(target: Target, names: Iterable[str], *, kept: bool) -> Sequence[Mapping[str, Any]]:
    """The files beside the versions that belong to what is published now and not to the version that is made (`names`, and
    what was put); all but those of superseded versions where the asset is `kept`. One that is no longer of the size that
    it had is somebody else's by now."""
    listed = asset.outdated((await target.text(asset.METADATA)).encode(), kept=kept)
    if not listed:
        return []
    own = {*names, asset.METADATA, *(file["path"] for file in target.put)}
    found = {file.path: file.size for file in await target.storage.list(target.folder, recursive=False)}
    there = {file["path"]: file for file in listed if found.get(target.path(file["path"])) == file.get("size")}
    return [file for path, file in there.items() if path not in own]


def published_outputs(
    target: Target, active: Active, stem: str, isms: Iterable[str], files: Sequence[str]
) -> Mapping[str, Any]:
    """What the job callback tells of what was published: `message`, `files`, `manifests`."""
    hls = target.full_path(f"{stem}.m3u8")
    dash = target.full_path(f"{stem}.mpd") if active.dash else None
    return {
        "message": next((target.full_path(ism) for ism in sorted(isms)), hls),
        "files": asset.callback_files([target.full_path(path) for path in sorted(files)], FILES_LIMIT),
        "manifests": {"hls": hls, "dash": dash},
    }
