"""`track_properties`: how tracks are called and what they are for, by filters over what they are. Pure.

Two formats. A list of `{language, role or kind, properties: {…}}`, and the older one: properties by a key of languages
(`|` for or), then `_` and roles, as in `eng`, `eng_description`, `und|`. A language or a role that is "" is not set.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.media.languages import UNDETERMINED, tag_of
from taskengine.media.roles import role_of
from taskengine.media.tracks import Track, TrackKind

FIELD = "track_properties"
_KINDS = {"audio": TrackKind.AUDIO, "textstream": TrackKind.TEXT}
_NAMES = ("track_name", "track_description", "track_role", "track_language")
_ORDINARY = {TrackKind.AUDIO: "main", TrackKind.TEXT: "subtitle"}  # the role of a track that has none
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Rule:
    """Tracks of a kind, and what becomes of them. `languages` and `roles`: one of them must be the track's; None: any."""

    kind: TrackKind
    languages: frozenset[str] | None
    roles: frozenset[str] | None  # "" is a track without one, or with the one that is taken where none is given
    changes: Mapping[str, str]
    where: str = ""

    def matches(self, track: Track) -> bool:
        """Whether it is about this track."""
        ordinary = _ORDINARY.get(track.kind, "")
        roles = {"", ordinary} if track.role in {None, ordinary} else {track.role or ""}
        return (
            track.kind is self.kind
            and (self.languages is None or track.language in self.languages)
            and (self.roles is None or bool(roles & self.roles))
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """All of them in the order in which they hold: what names a role comes after what does not."""

    rules: Sequence[Rule]
    notes: Sequence[str]


def read(raw: Mapping[str, Any]) -> Rules:
    """Read either format. InputFault names the field and the fault; what is unknown and harmless is noted."""
    notes: list[str] = []
    rules: list[Rule] = []
    for name, given in raw.items():
        if name not in _KINDS:
            raise InputFault(f"{FIELD}: {name!r} is neither audio nor textstream")
        entries = _listed(given) if isinstance(given, list) else _by_key(given)
        for place, filters, properties in entries:
            where = f"{FIELD}: {name}{place}"
            rules.append(_rule(_KINDS[name], filters, properties, where, notes))
    return Rules(sorted(rules, key=lambda rule: rule.roles is not None), notes)


_Entry = tuple[str, Mapping[str, str], Any]  # where it is, its filters, its properties


def _listed(given: Sequence[Any]) -> Iterator[_Entry]:
    for index, entry in enumerate(given):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("properties"), Mapping):
            raise InputFault(f"{FIELD}: entry {index} of a list is no object with properties")
        filters = {name: entry[name] for name in ("language", "role", "kind") if entry.get(name) is not None}
        yield f"[{index}]", filters, entry["properties"]


def _by_key(given: Any) -> Iterator[_Entry]:
    if not isinstance(given, Mapping):
        raise InputFault(f"{FIELD}: it is neither a list nor an object")
    for key, properties in given.items():
        languages, underscore, roles = str(key).partition("_")
        yield f"[{key!r}]", {"language": languages, **({"role": roles} if underscore else {})}, properties


def _rule(kind: TrackKind, filters: Mapping[str, Any], properties: Any, where: str, notes: list[str]) -> Rule:
    if not isinstance(properties, Mapping):
        raise InputFault(f"{where}: its properties are no object")
    for name, value in {**filters, **properties}.items():
        if value is not None and not isinstance(value, str):
            raise InputFault(f"{where}: {name} is no text")
    languages = _languages(filters["language"], where, notes) if "language" in filters else None
    roles = [_roles(filters[name], where, notes) for name in ("role", "kind") if name in filters]
    notes += [f"{where}: {name!r} is not known: ignored" for name in properties if name not in _NAMES]
    changes = {name: _clean(properties[name]) for name in _NAMES if properties.get(name) is not None}
    return Rule(
        kind, languages, frozenset.intersection(*roles) if roles else None, _checked(changes, where, notes), where
    )


def _languages(text: str, where: str, notes: list[str]) -> frozenset[str]:
    found = set()
    for code in text.split("|"):
        undetermined = code.strip().lower() in {"", UNDETERMINED}
        tag = UNDETERMINED if undetermined else tag_of(code.strip())
        if tag is None:
            notes.append(f"{where}: {code!r} is not a language: it matches no track")
        else:
            found.add(tag)
    return frozenset(found)


def _roles(text: str, where: str, notes: list[str]) -> frozenset[str]:
    found = set()
    for word in text.split("|"):
        role = role_of(word) if word.strip() else ""
        if role is None:
            notes.append(f"{where}: {word!r} is neither a role nor a kind: it matches no track")
        else:
            found.add(role)
    return frozenset(found)


def _checked(changes: Mapping[str, str], where: str, notes: list[str]) -> Mapping[str, str]:
    """Languages and roles as they are kept; what is none of them is noted and left out."""
    checked = dict(changes)
    if language := checked.get("track_language"):
        tag = UNDETERMINED if language == UNDETERMINED else tag_of(language)
        if tag is None:
            raise InputFault(f"{where}: track_language {language!r} is not a language")
        checked["track_language"] = tag
    if word := checked.get("track_role"):
        role = role_of(word)
        if role is None:
            notes.append(f"{where}: track_role {word!r} is no role: ignored")
            del checked["track_role"]
        else:
            checked["track_role"] = role
    return checked


def _clean(text: str) -> str:
    """Text as manifests can have it: one line, no control characters."""
    plain = "".join(
        " " if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} else character for character in text
    )
    return re.sub(r" {2,}", " ", plain).strip()[:_MAX_TEXT]


def applied(tracks: Sequence[Track], rules: Rules) -> Sequence[Track]:
    """The tracks with the properties of the rules that match them as they come; a later match overwrites."""
    return [_changed(track, [rule for rule in rules.rules if rule.matches(track)]) for track in tracks]


def _changed(track: Track, rules: Sequence[Rule]) -> Track:
    changes = {name: value for rule in rules for name, value in rule.changes.items()}
    return replace(
        track,
        label=changes.get("track_name", track.label or "") or None,
        description=changes.get("track_description", track.description or "") or None,
        role=changes.get("track_role", track.role or "") or None,
        language=changes.get("track_language", track.language) or UNDETERMINED,
    )
