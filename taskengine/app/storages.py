"""Storages, workspace and unfinished uploads, as the settings have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.ports import Storage
from taskengine.settings import Settings, StorageSettings
from taskengine.storage.local import LocalStorage
from taskengine.storage.registry import BUCKETS, KINDS, Storages, described_bucket

if TYPE_CHECKING:
    from taskengine.storage.uploads import S3Uploads


def build_storages(settings: Settings) -> Storages:
    """The storages that the configuration names; InvalidRequest with every fault."""
    return Storages({name: described(storage, settings) for name, storage in settings.storages.items()})


def described(storage: StorageSettings, settings: Settings) -> Mapping[str, Any]:
    """A storage as the registry takes it."""
    roots = {"source_root": storage.source_root, "output_roots": storage.output_root}
    if storage.kind == "local":
        return {"kind": storage.kind, "path": storage.folder(settings.data_dir), **roots}
    return {**storage.model_dump(exclude={"source_root", "output_root"}), **roots}


def build_workspace(settings: Settings) -> Storage:
    """The storage that the workspaces of jobs are in. A bucket's credentials and options are those of a storage in it, or
    else of one of its kind. Raises InvalidRequest."""
    url = settings.workspace
    if "://" not in url or url.startswith("file://"):
        return LocalStorage(Path(url.removeprefix("file://")), link_shared=True)
    try:
        return KINDS[url.partition(":")[0]](_workspace_settings(settings), url)
    except (KeyError, ValueError) as error:
        message = f"the workspace {url.partition('?')[0]!r} is no folder, s3://… or azure://… that can be used: {error}"
        raise InvalidRequest(message, [Fault("/workspace", message)]) from error


def build_uploads(settings: Settings) -> Sequence[S3Uploads]:
    """What may be left unfinished where assets and workspaces are put."""
    places = [
        (described(storage, settings), root)
        for storage in settings.storages.values()
        if storage.kind in BUCKETS
        for root in storage.output_root.values()
    ]
    if settings.workspace.startswith("s3://"):
        places.append((_workspace_settings(settings), settings.workspace))
    found = [described_bucket(described_as, root).uploads() for described_as, root in places]
    return [uploads for uploads in found if uploads is not None]


def _workspace_settings(settings: Settings) -> Mapping[str, Any]:
    kind, _, rest = settings.workspace.partition("://")
    same = [storage for storage in settings.storages.values() if storage.kind == kind]
    own = f"{kind}://{rest.partition('/')[0]}/"
    same.sort(key=lambda storage: not f"{storage.url}/".startswith(own))
    return described(same[0], settings) if same else {"kind": kind}
