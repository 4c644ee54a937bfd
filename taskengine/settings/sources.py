"""Where settings come from: flags, the environment, secret files and a YAML file, each as a list of entries."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskengine.domain.errors import Fault
from taskengine.domain.words import nearest
from taskengine.settings import names
from taskengine.settings.names import PREFIX, Shape

_FILE = "_FILE"
_FLAGS = {"database_url": "--database", "broker_url": "--broker"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One value that a source gives to a setting, with the name that a person knows the source by."""

    path: names.Path
    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source gave, and what is wrong with it."""

    entries: list[Entry]
    faults: list[Fault]


def from_flags(flags: Mapping[str, Any]) -> Reading:
    """The flags of a command line by the names of the settings; None is a flag that was not given."""
    entries = [
        Entry(entry.path, entry.value, _FLAGS.get(entry.path[0], "--" + entry.path[0].replace("_", "-")))
        for entry in _leaves(flags, "")
    ]
    return Reading(entries, [])


def from_environment(env: Mapping[str, str], known: Mapping[names.Path, Shape], keys: Mapping[str, Any]) -> Reading:
    """The environment; `keys` is what lower sources gave, for the case of free keys."""
    reading = Reading([], [])
    if env.get("NO_COLOR"):
        reading.entries.append(Entry(("log", "color"), value=False, origin="NO_COLOR"))
    for name in _general_first(name for name in env if name in names.HONOURED or name.startswith(PREFIX)):
        if name in names.NOT_SETTINGS or _names_a_file(name, known, keys):
            continue
        _take(reading, name, env[name], name, known, keys)
    return reading


def from_secret_files(
    env: Mapping[str, str], folder: Path, known: Mapping[names.Path, Shape], keys: Mapping[str, Any]
) -> Reading:
    """Files of the secrets' folder that are named like a variable, then the files that `<variable>_FILE` names."""
    reading = Reading([], [])
    files = {path.name.upper(): path for path in _files_of(folder)}
    for name in _general_first(name for name in files if name in names.HONOURED or name.startswith(PREFIX)):
        _take_file(reading, name, files[name], known, keys)
    for variable in _general_first(name for name in env if _names_a_file(name, known, keys)):
        _take_file(reading, variable.removesuffix(_FILE), Path(env[variable]), known, keys, origin=variable)
    return reading


def from_yaml(path: Path) -> Reading:
    """A YAML file (1.2, core schema)."""
    from taskengine.settings.yaml_file import YamlFault, read_yaml

    try:
        tree = read_yaml(path)
    except YamlFault as fault:
        return Reading([], [Fault("", f"{path}: {fault}")])
    return Reading(list(_leaves(tree, f"{path}: ")), [])


def _leaves(tree: Mapping[Any, Any], origin: str, prefix: names.Path = ()) -> Iterator[Entry]:
    for key, value in tree.items():
        path = (*prefix, *str(key).split(".")) if not prefix else (*prefix, str(key))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, origin, path)
        elif value is not None:
            yield Entry(path, value, origin + ".".join(path))


def _general_first(found: Iterable[str]) -> list[str]:
    """`DATABASE_URL` before `TASKENGINE_DATABASE_URL`, and a group before its members: later ones win."""
    return sorted(found, key=lambda name: (name.startswith(PREFIX), name.count("__"), name))


def _names_a_file(name: str, known: Mapping[names.Path, Shape], keys: Mapping[str, Any]) -> bool:
    base = name.removesuffix(_FILE)
    return base != name and names.resolve(name, known, keys) is None and names.resolve(base, known, keys) is not None


def _files_of(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError:
        return []


def _take_file(
    reading: Reading,
    name: str,
    path: Path,
    known: Mapping[names.Path, Shape],
    keys: Mapping[str, Any],
    origin: str | None = None,
) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is not UTF-8"
        reading.faults.append(Fault("", f"{origin or name}: {path} cannot be read: {reason}"))
    else:
        _take(reading, name, text.rstrip("\r\n"), origin or str(path), known, keys)


def _take(
    reading: Reading, name: str, text: str, origin: str, known: Mapping[names.Path, Shape], keys: Mapping[str, Any]
) -> None:
    """Add what a variable (or a file named like one) says to the reading."""
    path = names.resolve(name, known, keys)
    if name.endswith("_PORT") and names.is_injected(name, text):
        return
    if path is None:
        if not names.is_injected(name, text):
            hint = nearest(name, names.variables(known))
            reading.faults.append(Fault("", f"{origin}: there is no such setting{hint}"))
        return
    try:
        value = _parse(text, names.shape_of(path, known), path)
    except ValueError as error:
        reading.faults.append(Fault("/" + "/".join(path), f"{origin}: {error}"))
        return
    if isinstance(value, Mapping):
        leaves = _leaves({path[0]: _nest(path[1:], value)}, "")
        reading.entries.extend(Entry(leaf.path, leaf.value, origin) for leaf in leaves)
    elif value is not None:
        reading.entries.append(Entry(path, value, origin))


def _nest(path: names.Path, value: Any) -> Any:
    for part in reversed(path):
        value = {part: value}
    return value


def _parse(text: str, shape: Shape, path: names.Path) -> Any:
    """The value that a text stands for; None where it is empty, which is as good as not set."""
    stripped = text.strip()
    if shape.kind == "list":
        separator = ":" if path in {("workflows_dirs",), ("profiles_dirs",)} else ","
        return _json(stripped, list) if stripped.startswith("[") else _split(stripped, separator)
    if not stripped:
        return None
    if shape.kind == "mapping" and (not shape.scalar or stripped.startswith("{")):
        return _json(stripped, dict)
    return text


def _split(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _json(text: str, kind: Callable[..., Any]) -> Any:
    expected = "an object" if kind is dict else "an array"
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict if kind is dict else list):
        raise ValueError(f"must be {expected} in JSON")  # noqa: TRY004 - one kind of fault for every wrong text
    return value
