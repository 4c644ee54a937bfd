"""`publish`: make a verified asset visible: its files first, the two active manifests last, one after the other."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InternalFault, NotFound, StorageError
from taskengine.handlers.package import digest
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    OPTIONAL_FILE,
    STRING,
    in_thread,
    load,
    schema,
    storage_faults,
    through,
    together,
)
from taskengine.media import asset
from taskengine.media.names import file_name, file_stem
from taskengine.media.packager import MASTER, MPD
from taskengine.media.sources import Sources
from taskengine.media.thumbnails import sheet_name, webvtt
from taskengine.media.tracks import Images, Package, PackagedFile
from taskengine.ports import Storage, TaskContext

_FILES_LIMIT = 40 * 1024  # of the 64 KiB that outputs may have


@dataclass(slots=True)
class Target:
    """Where one attempt publishes: the folder of the asset and its version in it, and what was put there."""

    storage: Storage
    folder: str
    version: str
    put: list[dict[str, Any]] = field(default_factory=list)  # path, size, sha256; relative to the folder

    @property
    def base(self) -> str:
        """Of this version, relative to the folder."""
        return f"{asset.VERSIONS}/{self.version}"

    def path(self, relative: str) -> str:
        """The logical path of a file of the asset."""
        return f"{self.folder}/{relative}"

    async def put_file(self, source: Path, relative: str, sha256: str | None = None) -> None:
        """Put a local file."""
        checksum = sha256 or await in_thread(digest, source)
        size = await in_thread(lambda: source.stat().st_size)
        await self.storage.store(source, self.path(relative))
        self.put.append({"path": relative, "size": size, "sha256": checksum})

    async def put_bytes(self, data: bytes, relative: str) -> None:
        """Put a small file."""
        await self.storage.write(self.path(relative), data)
        self.put.append(_entry(data, relative))


def _entry(data: bytes, relative: str) -> dict[str, Any]:
    return {"path": relative, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


class Publish:
    """Uploads a version of the asset beside the active one, then switches the manifests, then removes the old version."""

    name = "publish"
    inputs: Mapping[str, Any] = schema(
        {"package": FILE, "content_id": STRING, "output_folder": STRING, "storage": STRING},
        {
            "output_root": ANY, "images": OPTIONAL_FILE, "mp4": OPTIONAL_FILE, "mp4_command": ANY, "mp4_filename": ANY,
            "sources": OPTIONAL_FILE, "keep": BOOLEAN, "manifest_style": STRING,
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({
        "message": STRING, "files": {"type": "array"}, "metadata": {"type": "object"}, "manifests": {"type": "object"},
        "storage": STRING,
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: what the job callback tells."""
        inputs = context.inputs
        root = str(inputs.get("output_root") or "output_root")
        storage = context.storage(str(inputs["storage"]), root)
        version = asset.version_name(context.task.job_id, context.task.attempt)
        target = Target(storage, str(inputs["output_folder"]), version)
        package = await load(context, inputs["package"], "package.json", Package)
        stem = file_stem(str(inputs["content_id"]))
        with storage_faults("output_folder"):
            async with _removed_if_called_off(target):
                master, manifest = await _upload_set(context, target, package)
                context.report_progress(0.8)
                images = await _upload_images(context, target, stem)
                await _upload_mp4(context, target)
                former = asset.ism_folders((await _text(target, asset.METADATA)).encode())
                isms = _isms(context, target, package, stem, former)
                manifests = _manifests(target, package, isms, stem, master, manifest)
                await _write_metadata(context, target, package, images, stem, manifests)
                context.report_progress(0.9)
            await through(_switch(context, target, manifests, former - isms))
        return _outputs(target, package, isms, stem, str(inputs["storage"]))


@asynccontextmanager
async def _removed_if_called_off(target: Target) -> AsyncIterator[None]:
    """Nothing points into the new version yet: where the attempt is called off, it goes."""
    try:
        yield
    except asyncio.CancelledError:
        with suppress(StorageError, NotFound):
            await through(target.storage.delete_folder(target.path(target.base)))
        raise


async def _upload_set(context: TaskContext, target: Target, package: Package) -> tuple[str, str]:
    """Segments, then playlists, then the master and the MPD of the set (whose texts it returns); all checked."""
    base = f"{target.base}/{package.protection}"
    waves: dict[int, list[PackagedFile]] = {0: [], 1: [], 2: []}
    for file in package.files:
        waves[_wave(file.path)].append(file)
    for _, files in sorted(waves.items()):
        await together([_upload(context, target, f"{base}/{file.path}", file) for file in files])
    stored = {file.path: file.size for file in await target.storage.list(target.path(base))}
    for file in package.files:
        found = stored.get(target.path(f"{base}/{file.path}"))
        if found != file.size:
            raise InternalFault(f"{base}/{file.path}: expected {file.size} bytes after upload, found {found}")
    texts = {file.path: context.scratch / _plain(file.path) for file in package.files if file.path in {MASTER, MPD}}
    return texts[MASTER].read_text(encoding="utf-8"), texts[MPD].read_text(encoding="utf-8")


def _wave(path: str) -> int:
    if path in {MASTER, MPD}:
        return 2
    return 1 if path.endswith(".m3u8") else 0


def _plain(path: str) -> str:
    return path.replace("/", "-")


async def _upload(context: TaskContext, target: Target, relative: str, file: PackagedFile) -> None:
    local = await context.workspace.fetch(file.file, _plain(file.path))
    await target.put_file(local, relative, file.sha256)


async def _upload_images(context: TaskContext, target: Target, stem: str) -> Images | None:
    if not context.inputs.get("images"):
        return None
    images = await load(context, context.inputs["images"], "images.json", Images)
    if images.poster:
        await target.put_file(await context.workspace.fetch(images.poster, "poster.jpg"), asset.POSTER)
    for number, sheet in enumerate(images.sheets, start=1):
        local = await context.workspace.fetch(sheet, f"sheet_{number}.jpg")
        await target.put_file(local, sheet_name(stem, number))
    if images.previews:
        await target.put_bytes(webvtt(images.previews, stem).encode(), f"{stem}.vtt")
    return images


async def _upload_mp4(context: TaskContext, target: Target) -> None:
    if context.inputs.get("mp4"):
        name = file_name(str(context.inputs["mp4_filename"]), "mp4_filename")
        await target.put_file(await context.workspace.fetch(context.inputs["mp4"], "progressive.mp4"), name)


async def _write_metadata(
    context: TaskContext, target: Target, package: Package, images: Images | None, stem: str,
    manifests: Mapping[str, bytes],
) -> None:  # fmt: skip
    sources: Sequence[Mapping[str, Any]] = ()
    versions = {**package.media.versions, **package.versions}
    commands = [*package.media.commands, *(images.commands if images else []), *package.commands]
    if context.inputs.get("sources"):
        found = await load(context, context.inputs["sources"], "sources.json", Sources)
        sources = [{"name": source.name, "size": source.size} for source in found.sources]
        commands = [*found.commands, *commands]
        versions = {**found.versions, **versions}
    if context.inputs.get("mp4_command"):
        commands.append(context.inputs["mp4_command"])
    former = asset.Former()
    if context.inputs.get("keep"):
        former = asset.former((await _text(target, asset.METADATA)).encode(), without=[*manifests, asset.METADATA])
        sources = former.sources
        commands = [*former.commands, *commands]
        versions = {**former.versions, **versions}
    active = {"protection": package.protection, "version": target.version, "hls": f"{stem}.m3u8", "dash": f"{stem}.mpd"}
    await target.put_bytes(
        asset.metadata(
            package.media,
            content_id=str(context.inputs["content_id"]),
            job_id=context.task.job_id,
            active=active,
            files=[*former.files, *target.put, *(_entry(data, name) for name, data in manifests.items())],
            sources=sources,
            commands=commands,
            versions=versions,
        ),
        asset.METADATA,
    )


def _isms(context: TaskContext, target: Target, package: Package, stem: str, former: frozenset[str]) -> frozenset[str]:
    """The `.ism` folders of the asset: a new one for clients that want one, those that were there where the asset is kept
    but for its tracks."""
    if context.inputs.get("keep"):
        return former
    if context.inputs.get("manifest_style") != "ism":
        return frozenset()
    return frozenset({asset.ism_name(stem, package.protection, target.storage.full_path(target.path(target.base)))})


def _manifests(
    target: Target, package: Package, isms: Iterable[str], stem: str, master: str, manifest: str
) -> Mapping[str, bytes]:
    """The two active manifests, which point into the new version, last; before them those of the `.ism` folders."""
    from taskengine.media import dash, hls  # their parsers are not needed before

    prefix = f"{target.base}/{package.protection}/"
    manifests: dict[str, bytes] = {}
    for name, below in [*((f"{ism}/", f"../{prefix}") for ism in sorted(isms)), (stem, prefix)]:
        manifests[f"{name}.m3u8"] = hls.with_prefix(master, below).encode()
        manifests[f"{name}.mpd"] = dash.with_prefix(manifest, below).encode()
    return manifests


async def _switch(context: TaskContext, target: Target, manifests: Mapping[str, bytes], former: Iterable[str]) -> None:
    """Replace the two active manifests, then remove the versions that they pointed into before, and the `former` folders
    of manifests."""
    old = frozenset[str]().union(*[asset.versions_in(await _text(target, name)) for name in manifests])
    for name, data in manifests.items():
        await target.put_bytes(data, name)
    await _remove(context, target, old)
    for folder in sorted(former):
        await target.storage.delete_folder(target.path(folder))


async def _text(target: Target, name: str) -> str:
    """A file of the asset as it is now; "" where there is none."""
    try:
        return (await target.storage.read(target.path(name))).decode(errors="replace")
    except NotFound:
        return ""


async def _remove(context: TaskContext, target: Target, old: Iterable[str]) -> None:
    """Remove the versions that nothing points into any more: the former one, and what earlier tries of this job left."""
    own = f"{context.task.job_id}-"
    tried = [f"{own}{attempt}" for attempt in range(1, context.task.attempt)]
    for version in sorted({*old, *tried} - {target.version}):
        await target.storage.delete_folder(target.path(f"{asset.VERSIONS}/{version}"))


def _outputs(target: Target, package: Package, isms: Iterable[str], stem: str, storage: str) -> Mapping[str, Any]:
    hls, dash = (target.storage.full_path(target.path(f"{stem}.{kind}")) for kind in ("m3u8", "mpd"))
    files = [
        target.storage.full_path(target.path(str(file["path"])))
        for file in sorted(target.put, key=lambda file: str(file["path"]))
    ]
    return {
        "message": next((target.storage.full_path(target.path(ism)) for ism in sorted(isms)), hls),
        "files": asset.callback_files(files, _FILES_LIMIT),
        "metadata": asset.callback_metadata(package.media),
        "manifests": {"hls": hls, "dash": dash},
        "storage": storage,
    }
