"""The renditions of an HLS master (EXT-X-MEDIA): complete groups, names, languages, what they are for; subtitles."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from taskengine.media.labels import default_audio, labels
from taskengine.media.languages import UNDETERMINED
from taskengine.media.roles import FORCED, characteristics
from taskengine.media.tracks import Media, Track, TrackKind

SUBTITLES = "subtitles"
_MEDIA = "#EXT-X-MEDIA:"
_VARIANT = "#EXT-X-STREAM-INF:"
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,"]*)')

Attributes = dict[str, str]  # name → value as it is written, with its quotes


def described(master: str, media: Media) -> str:
    """The master with every audio rendition in every group, called and marked as its track says, and with the text
    tracks. Renditions are found by their playlists, `<track>.m3u8`."""
    lines = master.splitlines()
    places = [index for index, line in enumerate(lines) if line.startswith(_MEDIA)]
    renditions = [_read(lines[index]) for index in places]
    called = labels(media.tracks)
    tracks = {track.name: track for track in media.tracks}
    audio = [_named(rendition, tracks, called) for rendition in _complete(renditions)]
    _choose(audio, default_audio(media))
    texts = [_subtitle(track, called[track.name]) for track in media.of(TrackKind.TEXT)]
    _choose_automatically(texts)
    first = places[0] if places else next(
        (index for index, line in enumerate(lines) if line.startswith(_VARIANT)), len(lines)
    )  # fmt: skip
    kept = [(index, line) for index, line in enumerate(lines) if index not in places]
    before = [line for index, line in kept if index < first]
    after = [
        _with_subtitles(line) if texts and line.startswith(_VARIANT) else line for index, line in kept if index >= first
    ]
    renditions_text = [*map(_written, audio), *map(_written, texts)]
    return "\n".join([*before, *renditions_text, *([""] if renditions_text and not places else []), *after]) + "\n"


def _read(line: str) -> Attributes:
    return dict(_ATTRIBUTE.findall(line.removeprefix(_MEDIA)))


def _written(attributes: Mapping[str, str]) -> str:
    return _MEDIA + ",".join(f"{name}={value}" for name, value in attributes.items())


def quoted(text: str) -> str:
    """A text as a quoted string, which can have neither quotes nor line ends in it."""
    plain = text.replace('"', "'").replace("\n", " ").replace("\r", " ")
    return f'"{plain}"'


def _complete(renditions: Sequence[Attributes]) -> Sequence[Attributes]:
    """Each rendition in every group: a player that chooses a variant with surround sound keeps the languages that have
    stereo alone. What a group lacks is taken from the first group that has it."""
    groups: dict[str, dict[str, Attributes]] = {}
    first: dict[str, Attributes] = {}
    for rendition in renditions:
        groups.setdefault(rendition["GROUP-ID"], {})[rendition["NAME"]] = rendition
        first.setdefault(rendition["NAME"], rendition)
    for group, members in groups.items():
        for name, rendition in first.items():
            members.setdefault(name, rendition | {"GROUP-ID": group})
    return [rendition for members in groups.values() for rendition in members.values()]


def _named(rendition: Attributes, tracks: Mapping[str, Track], called: Mapping[str, str]) -> Attributes:
    track = tracks[rendition["URI"].strip('"').removesuffix(".m3u8")]
    channels = {"CHANNELS": rendition["CHANNELS"]} if "CHANNELS" in rendition else {}
    return {
        "TYPE": rendition["TYPE"], "URI": rendition["URI"], "GROUP-ID": rendition["GROUP-ID"],
        **_language(track), "NAME": quoted(called[track.name]), "DEFAULT": "NO", "AUTOSELECT": "NO",
        **_purpose(track), **channels,
    }  # fmt: skip


def _language(track: Track) -> Attributes:
    return {} if track.language == UNDETERMINED else {"LANGUAGE": quoted(track.language)}


def _purpose(track: Track) -> Attributes:
    told = characteristics(track.role)
    return {"CHARACTERISTICS": quoted(told)} if told else {}


def _choose(audio: Sequence[Attributes], default: Track | None) -> None:
    """Mark in every group what plays where nobody chooses; what is for accessibility never is."""
    for group in dict.fromkeys(rendition["GROUP-ID"] for rendition in audio):
        members = [rendition for rendition in audio if rendition["GROUP-ID"] == group]
        able = [rendition for rendition in members if "CHARACTERISTICS" not in rendition]
        language = _language(default).get("LANGUAGE") if default else None
        chosen = next((rendition for rendition in able if rendition.get("LANGUAGE") == language), None)
        if chosen := chosen or next(iter(able), None):
            chosen["DEFAULT"] = "YES"
        _choose_automatically(sorted(members, key=lambda rendition: rendition["DEFAULT"] == "NO"))


def _choose_automatically(renditions: Sequence[Attributes]) -> None:
    """Players may choose by language and purpose: one rendition of each."""
    seen = set()
    for rendition in renditions:
        kind = tuple(rendition.get(name) for name in ("LANGUAGE", "FORCED", "CHARACTERISTICS"))
        rendition["AUTOSELECT"] = "NO" if kind in seen else "YES"
        seen.add(kind)


def _subtitle(track: Track, label: str) -> Attributes:
    return {
        "TYPE": "SUBTITLES", "URI": quoted(f"{track.name}.m3u8"), "GROUP-ID": quoted(SUBTITLES), **_language(track),
        "NAME": quoted(label), "DEFAULT": "NO", "AUTOSELECT": "YES",
        **({"FORCED": "YES"} if track.role == FORCED else {}), **_purpose(track),
    }  # fmt: skip


def _with_subtitles(variant: str) -> str:
    return f"{variant},SUBTITLES={quoted(SUBTITLES)}"


def text_playlist(uri: str, seconds: float) -> str:
    """The playlist of a text track that is one WebVTT file."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", f"#EXT-X-TARGETDURATION:{max(1, math.ceil(seconds))}",
             "#EXT-X-PLAYLIST-TYPE:VOD", f"#EXTINF:{seconds:.3f},", uri, "#EXT-X-ENDLIST"]  # fmt: skip
    return "\n".join(lines) + "\n"
