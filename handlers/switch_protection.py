"""`switch_protection`: make other sets of an asset the active ones, with those that were made for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.load_asset import read_asset
from taskengine.handlers.publication import (
    Target,
    UploadProgress,
    begin,
    entry,
    manifests,
    package_size,
    published_outputs,
    replace_files,
    switch,
    undone_if_it_fails,
    upload_set,
    versions_there,
)
from taskengine.handlers.support import ANY, OPTIONAL_FILE, STRING, load, schema, storage_faults, tell, through
from taskengine.media import asset
from taskengine.media.names import file_stem
from taskengine.media.protection import Active
from taskengine.media.published import Published
from taskengine.media.tracks import Package, PackagedSet
from taskengine.ports import TaskContext


class SwitchProtection:
    """Uploads new sets as a version of this job, rewrites `metadata.json`, then the two active manifests. Sets that are
    neither new nor replaced stay where they are."""

    name = "switch_protection"
    inputs: Mapping[str, Any] = schema(
        {"folder": STRING, "storage": STRING, "active": {"type": "object"}},
        {"output_root": ANY, "package": OPTIONAL_FILE, "manifest_style": STRING},
    )
    outputs: Mapping[str, Any] = schema({
        "message": STRING, "files": {"type": "array"}, "manifests": {"type": "object"}, "storage": STRING,
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: what the job callback tells."""
        inputs = context.inputs
        with storage_faults("folder"):
            target = await begin(context, str(inputs["folder"]))
        published = await read_asset(target.storage, target.folder, "folder")
        active = Active(str(inputs["active"]["hls"]), inputs["active"]["dash"])
        package = await _package(context)
        target.told = UploadProgress(context, package_size(package))
        stem = file_stem(published.content_id)
        with storage_faults("folder"):
            async with undone_if_it_fails(target):
                for made in package.sets if package else ():
                    await upload_set(context, target, made)
                known = (await target.text(asset.METADATA)).encode()
                former = asset.ism_folders(known)
                isms = _isms(context, target, active, stem, former)
                versions = _versions(published, package, target.version)
                names = await manifests(target, active, versions, stem, isms)
                document = {asset.CPIX_NAME: package.cpix} if package and package.cpix else {}
                await replace_files(context, target, document, names)
                change = _change(target, published, package, active, stem, names, former - isms)
                metadata = asset.switched(known, change, target.version, await versions_there(target))
                await target.put_bytes(metadata, asset.METADATA)
            gone = (former - isms) | ({f"{stem}.mpd"} if active.dash is None else set())
            await through(switch(context, target, names, superseded=change.superseded, gone=gone))
        if active.dash is None:
            tell(context, f"drm: {active.hls} is for HLS alone: there is no DASH manifest")
        files = sorted(asset.published_names(metadata))
        return {**published_outputs(target, active, stem, isms, files), "storage": str(inputs["storage"])}


async def _package(context: TaskContext) -> Package | None:
    reference = context.inputs.get("package")
    return await load(context, reference, "package.json", Package) if reference else None


def _versions(published: Published, package: Package | None, version: str) -> Mapping[str, str]:
    """Set → the version that it lies in from now on."""
    new = {made.name: version for made in (package.sets if package else ())}
    return {**{name: each.version for name, each in published.sets.items()}, **new}


def _isms(context: TaskContext, target: Target, active: Active, stem: str, former: frozenset[str]) -> frozenset[str]:
    """The name says whether it is protected: a new one, where the asset has one or the client wants one."""
    if not former and context.inputs.get("manifest_style") != "ism":
        return frozenset()
    return frozenset({asset.ism_name(stem, active.protection, target.full_path(target.base))})


def _change(
    target: Target, published: Published, package: Package | None, active: Active, stem: str,
    names: Mapping[str, bytes], isms: frozenset[str],
) -> asset.Change:  # fmt: skip
    """What the asset's `metadata.json` is told."""
    versions = _versions(published, package, target.version)
    made: Sequence[PackagedSet] = package.sets if package else ()
    if active.hls not in versions or (active.dash or active.hls) not in versions:
        raise InputFault(f"folder: the asset has no set {active.hls}")
    replaced = _replaced(published, made, versions)
    return asset.Change(
        active=asset.active_facts(active, stem, versions[active.hls]),
        sets={each.name: asset.set_facts(each, target.version) for each in made},
        files=[*target.put, *(entry(data, name) for name, data in names.items())],
        removed=[f"{asset.VERSIONS}/{folder}/" for folder in replaced] + [f"{ism}/" for ism in isms] + [f"{stem}.mpd"],
        superseded=replaced,
        commands=package.commands if package else (),
        versions=package.versions if package else {},
    )


def _replaced(published: Published, made: Sequence[PackagedSet], versions: Mapping[str, str]) -> Sequence[str]:
    """The folders below `v` that new sets replace: the whole version where it has no other set."""
    former = {each.name: published.sets[each.name].version for each in made if each.name in published.sets}
    used = set(versions.values())
    return [f"{version}/{name}" if version in used else version for name, version in former.items()]
