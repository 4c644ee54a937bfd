"""The folders of an installation that an engine makes before it takes jobs."""

from __future__ import annotations

from pathlib import Path

from taskengine.app.storages import build_storages, build_workspace
from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.settings import Settings


def make_folders(settings: Settings) -> None:
    """Make the roots of the local storages, the workspace and the scratch where they are missing.

    A worker makes none of them: where it misses one, the disk that it shares with the engine is not mounted. Raises
    InvalidRequest with every folder that cannot be made, or that something else stands in the way of.
    """
    faults: list[Fault] = []
    for place, folder in _folders(settings):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            faults.append(Fault(place, f"the folder {folder} cannot be made: {error.strerror}"))
    if faults:
        raise InvalidRequest("; ".join(f"{fault.path}: {fault.message}" for fault in faults), faults)


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
