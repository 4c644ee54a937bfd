"""Parses the configuration: the sources one over the other, then the whole tree at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.domain.words import nearest
from taskengine.settings import names
from taskengine.settings.sources import Entry, Reading, from_environment, from_flags, from_secret_files, from_yaml
from taskengine.settings.tree import Settings

_SECRETS = Path("/run/secrets")
_HERE = Path("taskengine.yaml")
_DEFAULTS = (
    Entry(("storages", "local", "kind"), "local", "default"),
    Entry(("key_providers", "local", "kind"), "seed", "default"),
)


def load_settings(
    flags: Mapping[str, Any] | None = None,
    config: Path | None = None,
    env: Mapping[str, str] | None = None,
    *,
    secrets: Path = _SECRETS,
    embedded: bool = False,
) -> Settings:
    """The settings: flags over the environment over secret files over YAML over defaults.

    `flags` are named like the settings, nested or with dots (`{"port": 1, "log.level": "debug"}`); None is a flag that
    was not given. The YAML file is `config`, else what TASKENGINE_CONFIG names, else ./taskengine.yaml if it is there.
    `embedded` takes the embedded store and broker, whatever the sources say.
    Raises InvalidRequest with all faults at once; each names its source, none shows a value.
    """
    env = os.environ if env is None else env
    tree = _Tree()
    tree.lay(_DEFAULTS)
    faults = tree.read(_from_config(config, env))
    known = names.shapes()
    faults += tree.read(from_secret_files(env, secrets, known, tree.values))
    faults += tree.read(from_environment(env, known, tree.values))
    faults += tree.read(from_flags(flags or {}))
    if embedded:
        tree.forget("database_url", "broker_url")
    settings = None
    try:
        settings = Settings.model_validate(tree.values)
    except ValidationError as error:
        faults += _translated(error, tree, known)
    if settings is None or faults:
        raise InvalidRequest(_summary(faults), faults)
    return settings


class _Tree:
    """The values laid one over the other, and where each is from."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._origins: dict[names.Path, str] = {}

    def read(self, reading: Reading) -> list[Fault]:
        """Lay a source over what is there; its faults."""
        self.lay(reading.entries)
        return reading.faults

    def lay(self, entries: Iterable[Entry]) -> None:
        """Lay values over what is there."""
        for entry in entries:
            here = self.values
            for part in entry.path[:-1]:
                inner = here.get(part)
                here[part] = inner = inner if isinstance(inner, dict) else {}
                here = inner
            if entry.value != {} or not isinstance(here.get(entry.path[-1]), dict):  # an empty mapping adds nothing
                here[entry.path[-1]] = entry.value
            self._origins[entry.path] = entry.origin

    def forget(self, *settings: str) -> None:
        """Let these have their defaults."""
        for name in settings:
            self.values.pop(name, None)

    def origin(self, path: names.Path) -> str:
        """Where the value at a path is from: its own source, its parent's, or that of one of its members."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return self._origins[path[:length]]
        return ".".join(path)


def _from_config(config: Path | None, env: Mapping[str, str]) -> Reading:
    if config is not None:
        return from_yaml(config)
    if named := env.get("TASKENGINE_CONFIG"):
        return from_yaml(Path(named))
    return from_yaml(_HERE) if _HERE.is_file() else Reading([], [])


def _translated(error: ValidationError, tree: _Tree, known: Mapping[names.Path, names.Shape]) -> list[Fault]:
    details = error.errors(include_url=False, include_context=True, include_input=False)
    return [_fault(detail, tree, known) for detail in details if detail["type"] != "default_factory_not_called"]


def _fault(detail: ErrorDetails, tree: _Tree, known: Mapping[names.Path, names.Shape]) -> Fault:
    path = tuple(str(part) for part in detail["loc"] if part != "[key]")
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if detail["type"] == "extra_forbidden":
        siblings = [known_path[-1] for known_path in known if names.fits(path[:-1], known_path[:-1])]
        message = "there is no such setting" + nearest(path[-1], siblings)
    elif detail["type"] == "missing":
        message = f"{'.'.join(path)} must be given"
    elif detail["type"] in {"model_type", "dict_type"}:
        message = "must be a mapping"
    pointer = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path)
    origin = tree.origin(path)
    return Fault(pointer, f"{origin}: {message[:1].lower()}{message[1:]}" if origin else message)


def _summary(faults: list[Fault]) -> str:
    return "the configuration has a fault" if len(faults) == 1 else f"the configuration has {len(faults)} faults"
