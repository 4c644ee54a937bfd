"""Keys that lie in a secret file (YAML or JSON), by content id, or for all content under `*`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from yamlcore import CoreLoader

from taskengine.domain.errors import InputFault, ResourceFault
from taskengine.domain.keys import ContentKey, KeyFault, KeyRequest, Label, parse_key, parse_key_id

EVERY_CONTENT = "*"
_FIELDS = {"label", "scheme", "key_id", "key"}
_LABELS = ("ALL", "VIDEO", *Label)
_SCHEMES = ("cenc", "cbcs", "aes")
_FALLBACKS = {Label.AUDIO: ("AUDIO", "ALL")}  # of a picture: its own label, VIDEO, ALL


@dataclass(frozen=True, slots=True)
class _Entry:
    key: ContentKey
    scheme: str | None  # None: for each


class StaticKeys:
    """A provider that looks them up. The file is read at each request: changes hold at once."""

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path

    async def keys(self, request: KeyRequest) -> Mapping[Label, ContentKey]:
        """The keys of these tracks. InputFault where the file has none, ResourceFault where it cannot be read."""
        content = read_keys(self._path, f"key_providers.{self._name}.keys_file")
        entries = [*content.get(request.content_id, ()), *content.get(EVERY_CONTENT, ())]
        fitting = [entry.key for entry in entries if entry.scheme in {None, request.scheme}]
        return {label: self._key(request, fitting, label, known) for label, known in request.tracks.items()}

    def _key(self, request: KeyRequest, keys: Sequence[ContentKey], label: Label, known: bytes | None) -> ContentKey:
        if known is not None:
            found = [key for key in keys if key.key_id == known]
            what = f"key {UUID(bytes=known)}"
        else:
            names = _FALLBACKS.get(label, (label.value, "VIDEO", "ALL"))
            found = [key for name in names for key in keys if key.label == name]
            what = f"key for {label} by {request.scheme}"
        if not found:
            raise InputFault(f"key_providers.{self._name}: there is no {what} of the content {request.content_id!r}")
        return found[0]


def read_keys(path: Path, what: str) -> Mapping[str, Sequence[_Entry]]:
    """The file's entries by content id. Faults never have a key's text."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=CoreLoader)  # noqa: S506 - made of the safe constructor
    except OSError as error:
        raise ResourceFault(f"{what}: it cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputFault(f"{what}: it is neither YAML nor JSON") from None
    if not isinstance(tree, dict):
        raise InputFault(f"{what}: it must be a mapping of content ids")
    return {str(content): _entries(entries, f"{what}: {content}") for content, entries in tree.items()}


def _entries(entries: Any, what: str) -> Sequence[_Entry]:
    if not isinstance(entries, list) or not entries:
        raise InputFault(f"{what}: it must be a list of keys")
    return [_entry(entry, f"{what}[{number}]") for number, entry in enumerate(entries)]


def _entry(entry: Any, what: str) -> _Entry:
    if not isinstance(entry, dict) or not {"key_id", "key"} <= entry.keys() <= _FIELDS:
        raise InputFault(f"{what}: it must have key_id and key, may have label and scheme, and nothing else")
    if not isinstance(entry["key_id"], str) or not isinstance(entry["key"], str):
        raise InputFault(f"{what}: key_id and key must be texts: put them in quotes")
    label, scheme = entry.get("label", "ALL"), entry.get("scheme")
    if label not in _LABELS:
        raise InputFault(f"{what}: label must be one of {', '.join(_LABELS)}")
    if scheme not in {None, *_SCHEMES}:
        raise InputFault(f"{what}: scheme must be one of {', '.join(_SCHEMES)}")
    try:
        key = ContentKey(str(label), parse_key_id(entry["key_id"], "key_id"), parse_key(entry["key"], "key"))
    except KeyFault as error:
        raise InputFault(f"{what}: {error}") from None
    return _Entry(key, scheme)
