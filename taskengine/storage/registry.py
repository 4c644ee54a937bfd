"""Storages by name, as the settings have them; a client's configuration may override their roots."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.domain.words import nearest
from taskengine.ports import Storage
from taskengine.storage.local import LocalStorage

if TYPE_CHECKING:
    from taskengine.storage.buckets import Bucket

SOURCE_ROOT = "source_root"
OUTPUT_ROOT = "output_root"
ENTRY_POINTS = "taskengine.storages"

Make = Callable[[Mapping[str, Any], str], Storage]
"""Makes the storage of one root from the settings of its name; raises ValueError that says what is wrong with them."""

_ROOT_SETTINGS = {SOURCE_ROOT, OUTPUT_ROOT, "output_roots"}


def local(settings: Mapping[str, Any], root: str) -> Storage:
    """A directory: `path` (or `url`, also as `file:///…`) is what relative roots are relative to."""
    if unknown := settings.keys() - {"kind", "path", "url", "credentials"} - _ROOT_SETTINGS:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    folder = Path(_base(settings)) / root
    if not folder.is_absolute():
        raise ValueError(f"the root {root!r} is not absolute, and there is no 'path' that it could be relative to")
    return LocalStorage(folder)


def bucket(settings: Mapping[str, Any], root: str) -> Storage:
    """A prefix of a bucket of S3, or of a container of Azure."""
    return described_bucket(settings, root).storage()


def described_bucket(settings: Mapping[str, Any], root: str) -> Bucket:
    """What `bucket` makes a storage of."""
    from taskengine.storage import buckets  # a library of its own: installations on a disk start without it

    return buckets.bucket(settings, root)


async def settled() -> None:
    """Wait, at the end of a process that used buckets, for what the threads of their library still have to say."""
    if module := sys.modules.get("taskengine.storage.objects"):
        await module.settled()


def _base(settings: Mapping[str, Any]) -> str:
    place = str(settings.get("url") or settings.get("path") or "")
    scheme, separator, rest = place.partition("://")
    if not separator:
        return str(Path(place).absolute()) if place else ""
    if scheme != "file" or not rest.startswith("/"):
        raise ValueError(f"the url of a local storage is a folder or file:///…, not {place!r}")
    return unquote(rest)


KINDS: Mapping[str, Make] = {"local": local, "s3": bucket, "azure": bucket}
BUCKETS = frozenset({"s3", "azure"})


@dataclass(frozen=True, slots=True)
class _Named:
    """One storage: how it is made, its settings and its roots by key."""

    make: Make
    settings: Mapping[str, Any]
    roots: Mapping[str, str]


class Storages:
    """The configured storages: `{name: {kind, path | url, source_root, output_root, output_roots: {key: path}}}`.

    The roots default to `source` and `output`. Raises InvalidRequest with every fault of the settings at once.
    """

    def __init__(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self._named: dict[str, _Named] = {}
        self._made: dict[tuple[str, str], Storage] = {}
        faults: list[Fault] = []
        for name, one in settings.items():
            try:
                self._named[name] = _named(one)
            except ValueError as error:
                faults.append(Fault(f"/storages/{name}", str(error)))
        if faults:
            raise InvalidRequest("; ".join(f"{fault.path}: {fault.message}" for fault in faults), faults)

    def names(self) -> Sequence[str]:
        """Every storage."""
        return sorted(self._named)

    def roots(self, name: str) -> Sequence[str]:
        """The keys of a storage's roots."""
        return sorted(self._known(name).roots)

    def open(self, name: str, root: str = OUTPUT_ROOT, own: Mapping[str, str] | None = None) -> Storage:
        """One root of one storage. `own`: folders of roots that a client's configuration has instead, or beside.

        Raises InvalidRequest that names the known ones for an unknown name or root.
        """
        named = self._known(name)
        roots = {**named.roots, **(own or {})}
        if root not in roots:
            raise _unknown(f"root of the storage {name!r}", root, roots, "/parameters/output_root")
        key = (name, roots[root])
        try:
            if key not in self._made:  # a bucket has connections that are worth keeping
                self._made[key] = named.make(named.settings, roots[root])
            return self._made[key]
        except ValueError as error:
            raise InvalidRequest(f"the storage {name!r}: {error}", [Fault(f"/storages/{name}", str(error))]) from error

    def _known(self, name: str) -> _Named:
        if name not in self._named:
            raise _unknown("storage", name, self._named, "/storages")
        return self._named[name]


def _named(settings: Mapping[str, Any]) -> _Named:
    make = _kind(str(settings.get("kind", "local")))
    roots = {SOURCE_ROOT: "source", OUTPUT_ROOT: "output", **_roots(settings)}
    for root in roots.values():
        make(settings, root)
    return _Named(make, settings, roots)


def _roots(settings: Mapping[str, Any]) -> Mapping[str, str]:
    single = {key: str(settings[key]) for key in (SOURCE_ROOT, OUTPUT_ROOT) if settings.get(key) is not None}
    several = {str(key): str(path) for key, path in (settings.get("output_roots") or {}).items()}
    if SOURCE_ROOT in several:
        raise ValueError(f"output_roots: {SOURCE_ROOT!r} is the name of the source root")
    return single | several


def _kind(kind: str) -> Make:
    if kind in KINDS:
        return KINDS[kind]
    for found in entry_points(group=ENTRY_POINTS, name=kind):
        make: Make = found.load()
        return make
    known = sorted({*KINDS, *(found.name for found in entry_points(group=ENTRY_POINTS))})
    raise ValueError(f"kind: {kind!r} is unknown; known are {', '.join(known)}")


def _unknown(what: str, name: str, known: Mapping[str, Any], path: str) -> InvalidRequest:
    message = f"{name!r} is no {what}; known are {', '.join(sorted(known)) or 'none'}{nearest(name, known)}"
    return InvalidRequest(message, [Fault(path, message)])
