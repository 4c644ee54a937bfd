"""The folders of an installation: what an engine makes before it takes jobs, and what must be there before a task is taken."""

from __future__ import annotations

import errno
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from taskengine.app.storages import build_storages, build_workspace
from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.settings import Settings
from taskengine.storage.copying import in_thread
from taskengine.storage.scratch import remove_stale

log = structlog.get_logger(__name__)


def make_folders(settings: Settings) -> None:
    """Make the roots of the local storages, the workspace and the scratch where they are missing.

    A worker makes none that it shares with the engine (`doubt_workspace`). Raises InvalidRequest with every folder that
    cannot be made, or that something else stands in the way of.
    """
    faults: list[Fault] = []
    for place, folder in _folders(settings):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            faults.append(Fault(place, f"the folder {folder} cannot be made: {error.strerror}"))
    if faults:
        raise InvalidRequest("; ".join(f"{fault.path}: {fault.message}" for fault in faults), faults)


async def prepare_scratch(root: Path) -> None:
    """Make the scratch and take away what processes that are gone left there.

    Raises InvalidRequest where this user cannot write there: whoever takes tasks without a scratch fails each of them in no
    time, and is the first to be free for the next one. A disk that is full is another matter: it may have room again.
    """
    try:
        await in_thread(lambda _: _make_in(root))
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise _refused("/scratch", f"the folder {root} cannot be written to: {error.strerror}") from error
    await remove_stale(root)


def _make_in(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    TemporaryDirectory(prefix="start-", dir=root).cleanup()


def doubt_workspace(settings: Settings) -> None:
    """Say of a worker that it does not see the workspace which the engine made: what needs it fails here. What does not is
    done all the same."""
    workspace = build_workspace(settings)
    if workspace.kind == "local" and not (folder := Path(workspace.full_path(""))).is_dir():
        log.warning("workspace_missing", folder=str(folder), hint="mount the engine's workspace here, at the same path")


def _refused(place: str, text: str) -> InvalidRequest:
    return InvalidRequest(f"{place}: {text}", [Fault(place, text)])


def _folders(settings: Settings) -> list[tuple[str, Path]]:
    """(the setting that names it, the folder)."""
    storages = build_storages(settings)
    roots = [
        (f"/storages/{name}/{root}", Path(storages.open(name, root).full_path("")))
        for name in storages.names()
        if settings.storages[name].kind == "local"
        for root in storages.roots(name)
    ]
    workspace = build_workspace(settings)
    shared = [("/workspace", Path(workspace.full_path("")))] if workspace.kind == "local" else []
    return [*roots, *shared, ("/scratch", settings.scratch)]
