"""`publish`: make a verified asset visible: its files first, the two active manifests last, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.handlers.publication import (
    Target,
    UploadProgress,
    entry,
    former_files,
    former_versions,
    manifests,
    package_size,
    published_outputs,
    removed_if_called_off,
    switch,
    upload_document,
    upload_set,
)
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    OPTIONAL_FILE,
    STRING,
    load,
    schema,
    storage_faults,
    tell,
    through,
)
from taskengine.media import asset
from taskengine.media.names import file_name, file_stem
from taskengine.media.protection import CLEAR, Active, active_sets
from taskengine.media.sources import Sources
from taskengine.media.thumbnails import sheet_name, webvtt
from taskengine.media.tracks import Images, Package
from taskengine.ports import TaskContext


class Publish:
    """Uploads a version of the asset beside the active one, then switches the manifests, then removes the old version with
    the files of it that the new one has not."""

    name = "publish"
    inputs: Mapping[str, Any] = schema(
        {"package": FILE, "content_id": STRING, "output_folder": STRING, "storage": STRING},
        {
            "output_root": ANY, "images": OPTIONAL_FILE, "mp4": OPTIONAL_FILE, "mp4_command": ANY, "mp4_filename": ANY,
            "sources": OPTIONAL_FILE, "keep": BOOLEAN, "manifest_style": STRING, "enable_drm": BOOLEAN,
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
        target.told = UploadProgress(context, package_size(package) + int((inputs.get("mp4") or {}).get("size") or 0))
        active = _active(context, package)
        stem = file_stem(str(inputs["content_id"]))
        with storage_faults("output_folder"):
            async with removed_if_called_off(target):
                for made in package.sets:
                    await upload_set(context, target, made)
                await _upload_mp4(context, target)
                await upload_document(context, target, package)
                images = await _upload_images(context, target, stem)
                former = asset.ism_folders((await target.text(asset.METADATA)).encode())
                isms = _isms(context, target, active, stem, former)
                names = await manifests(target, active, {each.name: version for each in package.sets}, stem, isms)
                superseded = await former_versions(target, stem)
                outdated = await former_files(target, names, kept=bool(inputs.get("keep")))
                await _write_metadata(context, target, package, images, stem, active, names, superseded, outdated)
                context.report_progress(0.95)
            gone = (former - isms) | ({f"{stem}.mpd"} if active.dash is None else set())
            gone |= {str(file["path"]) for file in outdated}
            await through(switch(context, target, names, superseded=superseded, gone=gone))
        outputs = published_outputs(target, active, stem, isms, [str(file["path"]) for file in target.put])
        return {**outputs, "metadata": asset.callback_metadata(package.media), "storage": str(inputs["storage"])}


def _active(context: TaskContext, package: Package) -> Active:
    names = [made.name for made in package.sets]
    protected = bool(context.inputs.get("enable_drm", True))
    active = active_sets(names, protected=protected)
    if not protected and active.protection != CLEAR:
        tell(context, "enable_drm: there is no clear manifest: the protected one is active")
    if active.dash is None:
        tell(context, f"drm: {active.hls} is for HLS alone: there is no DASH manifest")
    return active


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
    context: TaskContext, target: Target, package: Package, images: Images | None, stem: str, active: Active,
    names: Mapping[str, bytes], superseded: frozenset[str], outdated: Sequence[Mapping[str, Any]],
) -> None:  # fmt: skip
    sources: Sequence[Mapping[str, Any]] = ()
    versions = {**package.media.versions, **package.versions}
    commands = [*package.media.commands, *(images.commands if images else []), *package.commands]
    if context.inputs.get("sources"):
        found = await load(context, context.inputs["sources"], "sources.json", Sources)
        sizes = {each.name: each.size for each in found.sources} | {each.name: each.size for each in found.captions}
        sources = [{"name": name, "size": size} for name, size in sizes.items()]
        commands = [*found.commands, *commands]
        versions = {**found.versions, **versions}
    if context.inputs.get("mp4_command"):
        commands.append(context.inputs["mp4_command"])
    former = asset.Former()
    if context.inputs.get("keep"):
        former = asset.former((await target.text(asset.METADATA)).encode(), without=[*names, asset.METADATA])
        sources = former.sources
        commands = [*former.commands, *commands]
        versions = {**former.versions, **versions}
    await target.put_bytes(
        asset.metadata(
            package.media,
            content_id=str(context.inputs["content_id"]),
            job_id=context.task.job_id,
            active=asset.active_facts(active, stem, target.version),
            sets={made.name: asset.set_facts(made, target.version) for made in package.sets},
            superseded=superseded - {target.version},
            superseded_files=outdated,
            files=[*former.files, *target.put, *(entry(data, name) for name, data in names.items())],
            sources=sources,
            commands=commands,
            versions=versions,
        ),
        asset.METADATA,
    )


def _isms(context: TaskContext, target: Target, active: Active, stem: str, former: frozenset[str]) -> frozenset[str]:
    """The `.ism` folders of the asset: a new one for clients that want one, those that were there where the asset is kept
    but for its tracks."""
    if context.inputs.get("keep"):
        return former
    if context.inputs.get("manifest_style") != "ism":
        return frozenset()
    return frozenset({asset.ism_name(stem, active.protection, target.full_path(target.base))})
