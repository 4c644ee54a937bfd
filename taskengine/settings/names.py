"""The names of settings: in the tree, in the environment, in files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from taskengine.settings.tree import Settings

PREFIX = "TASKENGINE_"
ANY = "*"  # stands for the free keys of a mapping
HONOURED: Mapping[str, tuple[str, ...]] = {
    "DATABASE_URL": ("database_url",),
    "AMQP_URL": ("broker_url",),
    "PORT": ("port",),
    "LOG_LEVEL": ("log", "level"),
    f"{PREFIX}WORKFLOWS_DIR": ("workflows_dirs",),
}
NOT_SETTINGS = frozenset(f"{PREFIX}{name}" for name in ("CONFIG", "URL", "CLIENT", "API_KEY"))  # the command line's own
_PUBLISHED_STORAGES = ("local", "S3", "azure_blob")
_KUBERNETES = re.compile(r"_SERVICE_|_PORT_")
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://")

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a setting takes: one value, a list, or a mapping (`scalar`: a mapping that may be written as one value)."""

    kind: str  # "value" | "list" | "mapping"
    scalar: bool = True


def walk(model: type[BaseModel], prefix: Path = ()) -> Iterator[tuple[Path, FieldInfo]]:
    """Every setting of the tree and its groups, as they are written; free keys are `*`."""
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        yield path, field
        inner = _bare(field.annotation)
        if get_origin(inner) is dict:
            inner, path = _bare(get_args(inner)[1]), (*path, ANY)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from walk(inner, path)


def shapes() -> dict[Path, Shape]:
    """The shape of every setting and group by its path."""
    found: dict[Path, Shape] = {}
    for path, field in walk(Settings):
        inner = _bare(field.annotation)
        found[path] = shape = _shape(inner, path)
        if shape.kind == "mapping" and get_origin(inner) is dict:
            found[*path, ANY] = _shape(_bare(get_args(inner)[1]), path)
    return found


def variable(path: Path) -> str:
    """The environment variable of a setting."""
    return PREFIX + "__".join(path).upper()


def resolve(name: str, known: Mapping[Path, Shape], keys: Mapping[str, Any]) -> Path | None:
    """The path that a variable's name (in upper case) means; None where there is no such setting.

    Free keys take the case of a key that is already there, so that `STORAGES__S3__URL` means the storage `S3`.
    """
    if name in HONOURED:
        return HONOURED[name]
    parts = tuple(name.removeprefix(PREFIX).lower().split("__")) if name.startswith(PREFIX) else ()
    pattern = next((pattern for pattern in known if fits(parts, pattern)), None)
    if pattern is None:
        return None
    path: list[str] = []
    here: Any = keys
    for part, expected in zip(parts, pattern, strict=True):
        path.append(_cased(part, here, pattern) if expected == ANY else part)
        here = here.get(path[-1], {}) if isinstance(here, Mapping) else {}
    return tuple(path)


def is_injected(name: str, value: str) -> bool:
    """Whether Kubernetes made this variable for a service called taskengine."""
    if "__" in name:
        return False
    return bool(_KUBERNETES.search(name)) or (name.endswith("_PORT") and bool(_KUBERNETES_PORT.match(value)))


def variables(known: Mapping[Path, Shape]) -> list[str]:
    """Every variable that may be set, as far as its name is fixed."""
    own = (variable(path) for path, shape in known.items() if ANY not in path or shape.kind == "value")
    return [*(name for name in own if "*" not in name), *HONOURED, *sorted(NOT_SETTINGS)]


def fits(path: Path, pattern: Path) -> bool:
    """Whether a pattern of names, with free keys, stands for this path."""
    return len(path) == len(pattern) and all(
        expected in (part, ANY) for part, expected in zip(path, pattern, strict=True)
    )


def shape_of(path: Path, known: Mapping[Path, Shape]) -> Shape:
    """The shape of a setting that `resolve` found."""
    return next(shape for pattern, shape in known.items() if fits(path, pattern))


def _cased(part: str, here: Any, pattern: Path) -> str:
    there = list(here) if isinstance(here, Mapping) else []
    published = _PUBLISHED_STORAGES if pattern[0] == "storages" else ()
    return next((key for key in [*there, *published] if key.lower() == part), part)


def _bare(annotation: Any) -> Any:
    """The type without `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation


def _shape(inner: Any, path: Path) -> Shape:
    if get_origin(inner) in (tuple, list):
        return Shape("list")
    if get_origin(inner) is dict:
        return Shape("mapping", scalar=path[-1] == "output_root")
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return Shape("mapping", scalar=False)
    return Shape("value")
