"""`publish`: make a verified asset visible: its files first, the two active manifests last, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.publication import (
    Target,
    UploadProgress,
    begin,
    custom_manifests,
    entry,
    everything_else,
    former_files,
    former_versions,
    manifests,
    package_size,
    published_outputs,
    replace_files,
    switch,
    undone_if_it_fails,
    upload_set,
    verify_shared,
)
from taskengine.handlers.renditions import INPUTS as RENDITIONS
from taskengine.handlers.renditions import package_renditions
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    OPTIONAL_FILE,
    OUTPUT_ROOT,
    OUTPUT_STORAGE,
    STRING,
    load,
    schema,
    storage_faults,
    tell,
    through,
)
from taskengine.media import asset
from taskengine.media.names import file_name
from taskengine.media.packager import MPD
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
        {
            "content_id": {**STRING, "x-from": ["parameters.content_id"]},
            "output_folder": {**STRING, "x-from": ["parameters.output_folder"]},
            "storage": OUTPUT_STORAGE,
        },
        {
            "package": FILE, **RENDITIONS, "output_root": OUTPUT_ROOT, "mp4": OPTIONAL_FILE, "mp4_command": ANY,
            "mp4_filename": ANY, "keep": BOOLEAN, "manifest_style": STRING, "manifest_name": ANY,
            "empty_target": BOOLEAN, "custom_manifest_name": ANY,
            "images": {**OPTIONAL_FILE, "x-from": ["needs.images"], "x-beside": "renditions"},
            "sources": {**OPTIONAL_FILE, "x-from": ["needs.sources"], "x-beside": "renditions"},
            "enable_drm": {**BOOLEAN, "x-from": ["parameters.enable_drm"], "x-beside": "renditions"},
        },
        ways=(("package",), ("renditions",)),
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({
        "message": STRING, "manifest": STRING, "files": {"type": "array"}, "metadata": {"type": "object"},
        "manifests": {"type": "object"}, "storage": STRING,
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: what the job callback tells; `manifest` is another name of `message`."""
        inputs = context.inputs
        package = await _package(context)
        with storage_faults("output_folder"):
            target = await begin(context, str(inputs["output_folder"]))
        target.told = UploadProgress(context, package_size(package) + int((inputs.get("mp4") or {}).get("size") or 0))
        images = await load(context, inputs["images"], "images.json", Images) if inputs.get("images") else None
        active = _active(context, package)
        stem = asset.manifest_stem(str(inputs["content_id"]), inputs.get("manifest_name"))
        with storage_faults("output_folder"):
            async with undone_if_it_fails(target):
                for made in (*package.sets, *([package.custom] if package.custom else [])):
                    await upload_set(context, target, made)
                former = asset.ism_folders((await target.text(asset.METADATA)).encode())
                isms = _isms(context, target, active, stem, former)
                versions = {each.name: target.version for each in package.sets}
                names = dict(await manifests(target, active, versions, stem, isms))
                if package.custom:
                    names = {**await custom_manifests(target, custom_name(context, stem), package.custom), **names}
                await verify_shared(target, package.shared)
                await replace_files(context, target, _files(context, package, images, stem), names)
                superseded, outdated, others = await _former(context, target, stem, names)
                await _write_metadata(context, target, package, images, stem, active, names, superseded, outdated)
                context.report_progress(0.95)
            gone = others | ({f"{stem}.mpd"} if active.dash is None else set())
            gone |= former - isms if inputs.get("empty_target") is not False else frozenset()
            gone |= {str(file["path"]) for file in outdated}
            await through(switch(context, target, names, superseded=superseded, gone=gone))
        outputs = published_outputs(target, active, stem, isms, [str(file["path"]) for file in target.put])
        return {
            **outputs,
            "manifest": outputs["message"],
            "metadata": asset.callback_metadata(package.media),
            "storage": str(inputs["storage"]),
        }


async def _package(context: TaskContext) -> Package:
    if "package" in context.inputs:
        return await load(context, context.inputs["package"], "package.json", Package)
    return await package_renditions(context)


async def _former(
    context: TaskContext, target: Target, stem: str, names: Mapping[str, bytes]
) -> tuple[frozenset[str], Sequence[Mapping[str, Any]], frozenset[str]]:  # fmt: skip
    """(the versions, the files beside them, and all else) that go once this version is in place. Where nothing is said of
    `empty_target`, what belongs to the asset that is published there now."""
    empty = context.inputs.get("empty_target")
    if empty is False:
        return frozenset(), [], frozenset()
    outdated = await former_files(target, names, kept=bool(context.inputs.get("keep")))
    if empty:
        versions, others = await everything_else(target, names)
        return versions, outdated, others
    return await former_versions(target, stem), outdated, frozenset()


def custom_name(context: TaskContext, stem: str) -> str:
    """The name of a further manifest. InputFault where it is none, or another file's."""
    name = file_name(str(context.inputs.get("custom_manifest_name") or ""), "custom_manifest_name")
    if asset.taken(stem, name):
        raise InputFault(f"custom_manifest_name: {name} is the name of another file of the asset")
    return name


def _active(context: TaskContext, package: Package) -> Active:
    names = [made.name for made in package.sets]
    protected = bool(context.inputs.get("enable_drm", True))
    active = active_sets(names, protected=protected)
    if not protected and active.protection != CLEAR:
        tell(context, "enable_drm: there is no clear manifest: the protected one is active")
    if active.dash is None:
        tell(context, f"drm: {active.hls} is for HLS alone: there is no DASH manifest")
    elif not any(file.path == MPD for made in package.sets if made.name == active.dash for file in made.files):
        return replace(active, dash=None)
    return active


def _files(
    context: TaskContext, package: Package, images: Images | None, stem: str
) -> Mapping[str, Mapping[str, Any] | bytes]:
    """What lies beside the versions: files of the workspace, or what is in them."""
    found: dict[str, Mapping[str, Any] | bytes] = {}
    if context.inputs.get("mp4"):
        name = file_name(str(context.inputs["mp4_filename"]), "mp4_filename")
        if asset.taken(stem, name):
            raise InputFault(f"mp4_filename: {name!r} is the name of another file of the asset")
        found[name] = context.inputs["mp4"]
    if package.cpix:
        found[asset.CPIX_NAME] = package.cpix
    if images and images.poster:
        found[asset.POSTER] = images.poster
    for number, sheet in enumerate(images.sheets if images else (), start=1):
        found[sheet_name(stem, number)] = sheet
    if images and images.previews:
        found[f"{stem}.vtt"] = webvtt(images.previews, stem).encode()
    return found


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
            written_by=target.version,
            active=asset.active_facts(active, stem, target.version),
            sets={made.name: asset.set_facts(made, target.version) for made in package.sets},
            superseded=superseded - {target.version},
            superseded_files=outdated,
            files=[*former.files, *target.put, *(entry(data, name) for name, data in names.items())],
            sources=sources,
            commands=commands,
            versions=versions,
            shared=[{"path": file.path, "size": file.size} for file in package.shared],
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
