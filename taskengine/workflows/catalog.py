"""The workflows there are: the built-in ones, those of configured directories, and what clients have of their own.

Files are read when the catalog is made and on `reload`, which looks at what changed. A file that is faulty keeps its last
good version, and its faults are told until it is mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from taskengine.domain.errors import Fault, WorkflowError
from taskengine.domain.workflow import Workflow
from taskengine.ports import Evaluator, LoadedWorkflow
from taskengine.workflows.definitions import HandlerSpec, SharedParameters, Surroundings
from taskengine.workflows.loader import compile_source, load_shared, load_text
from taskengine.workflows.parameters import compile_schema

BUILT_IN = Path(__file__).resolve().parent.parent / "config"
COMPILED = 256  # definitions of running jobs kept compiled
_SUFFIXES = {".yaml", ".yml"}

_Stamp = tuple[int, int]


@dataclass(slots=True)
class _File:
    """A file as it was last read; `loaded` is its last good version."""

    stamp: _Stamp | None = None
    loaded: LoadedWorkflow | None = None
    faults: Sequence[Fault] = ()


@dataclass(slots=True)
class _View:
    """Who sees what: built anew by each load, swapped in whole."""

    shared: dict[str, LoadedWorkflow] = field(default_factory=dict)
    of_clients: dict[str, dict[str, LoadedWorkflow]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


class Catalog:
    """`ports.WorkflowCatalog` over directories of YAML files; later directories override earlier ones by name."""

    def __init__(
        self,
        evaluator: Evaluator,
        handlers: Mapping[str, HandlerSpec],
        directories: Sequence[Path] = (),
        *,
        built_in: Path | None = BUILT_IN,
        external_queues: Iterable[str] = (),
    ) -> None:
        self._evaluator = evaluator
        self._external_queues = frozenset(external_queues)
        self._handlers = handlers
        self._directories = [*([built_in / "workflows"] if built_in else []), *directories]
        self._shared_file = built_in / "parameters.yaml" if built_in else None
        self._shared = SharedParameters()
        self._shared_stamp: _Stamp | None = None
        self._files: dict[Path, _File] = {}
        self._view = _View()
        self._compiled: Callable[[str], Workflow] = lru_cache(maxsize=COMPILED)(compile_source)
        self.load()

    # ---- reading

    def get(self, name: str, client: str) -> LoadedWorkflow | None:
        """The workflow as this client gets it; None where there is none."""
        own = self._view.of_clients.get(client, {}).get(name)
        return own or self._view.shared.get(name)

    def compile(self, source: str) -> Workflow:
        """Rebuild a workflow from its stored source alone."""
        return self._compiled(source)

    def names(self, client: str) -> Sequence[str]:
        """Every workflow that this client can name, sorted."""
        return sorted({*self._view.shared, *self._view.of_clients.get(client, {})})

    @property
    def faults(self) -> Sequence[Fault]:
        """What is wrong with the files now; their last good versions are still used."""
        return tuple(self._view.faults)

    @property
    def around(self) -> Surroundings:
        """What workflow files are judged against."""
        return Surroundings(self._evaluator, self._handlers, self._shared, self._external_queues)

    def judge(self, path: Path) -> LoadedWorkflow:
        """A file that need not be in a directory of the catalog. Raises WorkflowError."""
        return self._load_file(path)

    # ---- loading

    async def reload(self) -> Sequence[Fault]:
        """Read what changed, off the event loop; the faults that there are now."""
        return await asyncio.to_thread(self.load)

    def load(self) -> Sequence[Fault]:
        """Read what changed; the faults that there are now."""
        faults = self._load_shared()
        view = _View(faults=faults)
        seen: set[Path] = set()
        for directory in self._directories:
            if not directory.is_dir():
                view.faults.append(Fault(f"{directory}:1", "there is no such directory of workflows"))
                continue
            seen |= self._layer(directory, view.shared, view.faults)
            for folder in sorted(path for path in (directory / "clients").glob("*") if path.is_dir()):
                seen |= self._layer(folder, view.of_clients.setdefault(folder.name, {}), view.faults)
        self._files = {path: file for path, file in self._files.items() if path in seen}
        self._view = view
        return self.faults

    def _load_shared(self) -> list[Fault]:
        if self._shared_file is None:
            return []
        stamp = _stamp(self._shared_file)
        if stamp is not None and stamp == self._shared_stamp:
            return []
        try:
            self._shared = load_shared(_read(self._shared_file), str(self._shared_file))
        except WorkflowError as error:
            return list(error.faults)
        self._shared_stamp = stamp
        for file in self._files.values():
            file.stamp = None  # what a group says is part of each workflow that uses it
        return []

    def _layer(self, directory: Path, into: dict[str, LoadedWorkflow], faults: list[Fault]) -> set[Path]:
        """Add a directory's workflows over those of earlier ones; the files it has."""
        paths = sorted(path for path in directory.iterdir() if path.suffix in _SUFFIXES and path.is_file())
        places: dict[str, Path] = {}
        for path in paths:
            file = self._refresh(path)
            faults.extend(file.faults)
            if file.loaded is None:
                continue
            name = file.loaded.workflow.name
            if name in places:
                faults.append(Fault(f"{path}:1", f"the name {name!r} is that of {places[name].name} too"))
                continue
            places[name] = path
            into[name] = file.loaded
        return set(paths)

    def _refresh(self, path: Path) -> _File:
        file = self._files.setdefault(path, _File())
        stamp = _stamp(path)
        if stamp is None or stamp != file.stamp:
            try:
                file.loaded, file.faults = self._load_file(path), ()
            except WorkflowError as error:
                file.faults = error.faults
            file.stamp = stamp
        return file

    def _load_file(self, path: Path) -> LoadedWorkflow:
        workflow = load_text(_read(path), str(path), self.around)
        return LoadedWorkflow(workflow, compile_schema(workflow.schema, self._evaluator))


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _read(path: Path) -> str:
    """A file's text. Raises WorkflowError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(f"{path}: cannot be read", [Fault(f"{path}:1", f"cannot be read: {error}")]) from error
