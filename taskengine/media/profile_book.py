"""The profiles there are: those of `config/profiles`, of configured folders, and of clients, one YAML file each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

import taskengine
from taskengine import documents
from taskengine.domain.errors import Fault, InputFault, ResourceFault
from taskengine.domain.words import nearest
from taskengine.media.profiles import PROFILE_NAME, Profile

CLIENTS = "clients"
SUFFIX = ".yaml"


def built_in_profiles() -> Path:
    """Where the profiles that come with the product are."""
    return Path(taskengine.__file__).parent / "config" / "profiles"


def parse_profile(text: str, origin: str) -> Profile:
    """A profile from its YAML; a ResourceFault names every fault of the file, each with its line."""
    profile, faults = _read(text, origin)
    if profile is None:
        raise ResourceFault(_sentence(faults))
    return profile


def judge(path: Path) -> Sequence[Fault]:
    """Every fault of one file, by line; none where an engine would take it."""
    if path.suffix != SUFFIX:
        return [Fault(f"{path}:1", f"engines read files that end in {SUFFIX} alone")]
    file = _File()
    file.refresh(path)
    return file.faults


def _read(text: str, origin: str) -> tuple[Profile | None, Sequence[Fault]]:
    document = documents.parse(text, origin)
    if document.faults:
        return None, document.faults
    try:
        return Profile.model_validate(document.value), ()
    except ValidationError as error:
        return None, [_fault(document, fault["loc"], fault["msg"]) for fault in error.errors()]


def _fault(document: documents.Document, place: tuple[int | str, ...], message: str) -> Fault:
    text = message.removeprefix("Value error, ")
    named = ".".join(map(str, place))
    return document.fault(place, f"{named}: {text}" if named else text)


def _sentence(faults: Sequence[Fault]) -> str:
    return "; ".join(f"{fault.path}: {fault.message}" for fault in faults)


class Profiles:
    """The profiles there are: the built-in ones and those of `folders`; later ones override by name, and what lies in
    `clients/<client>` of any of them overrides for that client. `load` reads them; a faulty file is told of in `faults`.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = [built_in_profiles(), *folders]
        self._shared: Mapping[str, Profile] = {}
        self._of_clients: Mapping[str, Mapping[str, Profile]] = {}
        self._faults: Sequence[Fault] = ()
        self._files: dict[Path, _File] = {}
        self.load()

    def names(self, client: str) -> Sequence[str]:
        """Every profile that this client can name, sorted."""
        return sorted({*self._shared, *self._of_clients.get(client, {})})

    def get(self, name: str, client: str) -> Profile:
        """A profile by name. InputFault where there is none of it, ResourceFault where its file is wrong."""
        found = self._of_clients.get(client, {}).get(name) or self._shared.get(name)
        if found is None:
            wrong = [fault for fault in self._faults if Path(fault.path.rpartition(":")[0]).stem == name]
            if wrong:
                raise ResourceFault(_sentence(wrong))
            known = self.names(client)
            raise InputFault(
                f"encoding_profile: there is no profile {name!r}; there are: {', '.join(known)}{nearest(name, known)}"
            )
        return found

    @property
    def faults(self) -> Sequence[Fault]:
        """What is wrong with the files, by file and line."""
        return self._faults

    async def reload(self) -> Sequence[Fault]:
        """Read the files again, off the event loop; the faults that there are now."""
        return await asyncio.to_thread(self.load)

    def load(self) -> Sequence[Fault]:
        """Read what changed; the faults that there are now. A file that is faulty keeps its last good version."""
        shared: dict[str, Profile] = {}
        of_clients: dict[str, dict[str, Profile]] = {}
        faults: list[Fault] = []
        for folder in self._folders:
            if not folder.is_dir():
                faults.append(Fault(f"{folder}:1", "there is no such directory of profiles"))
                continue
            shared |= self._good(folder, faults)
            for own in sorted(path for path in (folder / CLIENTS).glob("*") if path.is_dir()):
                of_clients.setdefault(own.name, {}).update(self._good(own, faults))
        self._shared, self._of_clients, self._faults = shared, of_clients, tuple(faults)
        return self._faults

    def _good(self, folder: Path, faults: list[Fault]) -> dict[str, Profile]:
        found = {}
        for path in _files(folder):
            file = self._files.setdefault(path, _File())
            file.refresh(path)
            faults.extend(file.faults)
            if file.profile is not None:
                found[path.stem] = file.profile
        return found


@dataclass(slots=True)
class _File:
    """A file as it was last read; `profile` is its last good version."""

    stamp: tuple[int, int] | None = None
    profile: Profile | None = None
    faults: Sequence[Fault] = ()

    def refresh(self, path: Path) -> None:
        """Read it where it changed."""
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self.stamp:
                return
            profile, self.faults = _read(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            self.faults = [Fault(f"{path}:1", f"cannot be read: {error}")]
            return
        self.stamp = stamp
        if profile is not None and profile.name != path.stem:
            self.faults = [Fault(f"{path}:1", f"its name is {profile.name!r}, not that of its file")]
        elif profile is not None:
            self.profile = profile


def _files(folder: Path) -> Iterator[Path]:
    return (
        path for path in sorted(folder.glob(f"*{SUFFIX}")) if re.fullmatch(PROFILE_NAME, path.stem) and path.is_file()
    )
