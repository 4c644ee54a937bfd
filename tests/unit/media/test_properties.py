"""`track_properties`: which rules match which tracks, in both formats, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.domain.errors import InputFault
from taskengine.media.labels import default_audio, labels
from taskengine.media.properties import applied, read
from taskengine.media.roles import ROLES, role_of
from taskengine.media.tracks import Media, Track, TrackKind

TRACKS = [
    Track("audio_1", TrackKind.AUDIO, "aac", 1.0, language="en"),
    Track("audio_2", TrackKind.AUDIO, "aac", 1.0, language="en", role="description"),
    Track("audio_3", TrackKind.AUDIO, "aac", 1.0),
    Track("text_1", TrackKind.TEXT, "webvtt", 1.0, language="en", role="caption"),
    Track("text_2", TrackKind.TEXT, "webvtt", 1.0, language="de", role="subtitle"),
]
NAMED = {"track_name": "x"}


def named(raw: Mapping[str, Any]) -> list[str]:
    """The tracks that are called x by these properties."""
    return [track.name for track in applied(TRACKS, read(raw)) if track.label == "x"]


@pytest.mark.parametrize(
    ("filters", "matched"),
    [
        ({"language": "eng"}, ["audio_1", "audio_2"]), ({"language": "en", "role": "description"}, ["audio_2"]),
        ({"language": "eng", "kind": "descriptions"}, ["audio_2"]), ({"language": "eng", "role": ""}, ["audio_1"]),
        ({"language": "eng", "role": "main"}, ["audio_1"]), ({"language": ""}, ["audio_3"]), ({"language": "und"}, ["audio_3"]),
        ({"role": "main"}, ["audio_1", "audio_3"]), ({"language": "eng|und"}, ["audio_1", "audio_2", "audio_3"]),
        ({"language": "fra"}, []), ({"language": "eng", "role": "nonsense"}, []), ({}, ["audio_1", "audio_2", "audio_3"]),
    ],
)  # fmt: skip
def test_filters_match_the_language_with_the_role_or_the_kind(filters: Mapping[str, str], matched: list[str]) -> None:
    """Of the tracks of their own kind alone."""
    assert named({"audio": [{**filters, "properties": NAMED}]}) == matched


@pytest.mark.parametrize(
    ("kind", "key", "matched"),
    [
        ("audio", "eng", ["audio_1", "audio_2"]), ("audio", "eng_description", ["audio_2"]), ("audio", "und|", ["audio_3"]),
        ("audio", "", ["audio_3"]), ("audio", "deu|eng_main|description", ["audio_1", "audio_2"]), ("audio", "_description", []),
        ("audio", "eng_", ["audio_1"]), ("textstream", "ger|eng", ["text_1", "text_2"]), ("textstream", "eng_captions", ["text_1"]),
        ("textstream", "deu_", ["text_2"]), ("textstream", "eng_", []),
    ],
)  # fmt: skip
def test_keys_of_the_older_format(kind: str, key: str, matched: list[str]) -> None:
    """The language, then `_` and the role; `|` is or; nothing is not set."""
    assert named({kind: {key: NAMED}}) == matched


def test_a_later_match_overwrites_and_one_with_a_role_comes_last() -> None:
    """Property by property."""
    raw = {"audio": {
        "eng_description": {"track_name": "Described", "track_language": "en-GB"}, "eng": {"track_name": "One"},
        "en": {"track_name": "Two", "track_description": "d"}, "und": {"track_language": "fra", "track_role": "dub"},
    }}  # fmt: skip
    found = {track.name: track for track in applied(TRACKS, read(raw))}
    assert (found["audio_1"].label, found["audio_1"].description) == ("Two", "d")
    described = found["audio_2"]
    assert (described.label, described.language, described.description, described.role) == (
        "Described", "en-GB", "d", "description",
    )  # fmt: skip
    assert (found["audio_3"].language, found["audio_3"].role) == ("fr", "dub")
    assert found["text_1"] == TRACKS[3]


def test_properties_may_be_taken_away() -> None:
    """An empty text is none."""
    raw = {"textstream": [{"language": "eng", "properties": {"track_role": "", "track_language": ""}}]}
    assert [(track.role, track.language) for track in applied(TRACKS[3:4], read(raw))] == [(None, "und")]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"video": []}, "track_properties: 'video' is neither"), ({"audio": "x"}, "track_properties: it is neither a list"),
        ({"audio": [{}]}, "track_properties: entry 0 of a list"), ({"audio": {"eng": []}}, r"audio\['eng'\]: its properties"),
        ({"audio": {"eng": {"track_name": 1}}}, "track_name is no text"),
        ({"audio": {"eng": {"track_language": "english"}}}, "track_language 'english' is not a language"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(raw: Mapping[str, Any], message: str) -> None:
    """With the field and the fault."""
    with pytest.raises(InputFault, match=message):
        read(raw)


def test_what_is_unknown_and_harmless_is_noted() -> None:
    """The rest holds."""
    rules = read({"audio": {"klingon_x": {"track_role": "y", "odd": "1", "track_name": "a\nb\0"}}})
    assert len(rules.notes) == 4
    assert rules.rules[0].changes == {"track_name": "a b"}


@given(st.text(max_size=20), st.text(max_size=60))
def test_any_key_and_any_name_are_read(key: str, name: str) -> None:
    """A name is one line without control characters, and no filter matches a track of another kind."""
    rules = read({"textstream": {key: {"track_name": name}}})
    assert applied(TRACKS[:3], rules) == TRACKS[:3]
    for track in applied(TRACKS[3:], rules):
        assert track.label is None or track.label.isprintable() or not track.label.isascii()


def test_tracks_are_called_by_language_and_role_and_never_the_same() -> None:
    """But for those that differ in their bit rates alone."""
    again = Track("audio_4", TrackKind.AUDIO, "aac", 1.0, language="en", bitrate=1)
    other = Track("audio_5", TrackKind.AUDIO, "aac", 1.0, language="de", label="English")
    twice = Track("text_3", TrackKind.TEXT, "webvtt", 1.0, language="de", role="subtitle")
    assert labels([*TRACKS, again, other, twice]) == {
        "audio_1": "English", "audio_2": "English (audio description)", "audio_3": "Audio", "audio_4": "English",
        "audio_5": "English 2", "text_1": "English (captions)", "text_2": "Deutsch", "text_3": "Deutsch 2",
    }  # fmt: skip


def test_what_is_for_accessibility_is_never_the_default() -> None:
    """Even where it comes first."""
    first = default_audio(Media([TRACKS[1], TRACKS[2]], 1.0))
    assert first is TRACKS[2]
    assert default_audio(Media([TRACKS[1]], 1.0)) is None


def test_a_commentary_is_the_default_only_where_there_is_no_ordinary_sound() -> None:
    """Wherever it comes."""
    commentary = Track("audio_9", TrackKind.AUDIO, "aac", 1.0, language="en", role="commentary")
    assert default_audio(Media([commentary, TRACKS[0]], 1.0)) is TRACKS[0]
    assert default_audio(Media([TRACKS[1], commentary], 1.0)) is commentary


def test_kinds_are_other_names_of_roles() -> None:
    """As HTML, HLS and ffmpeg have them."""
    assert [role_of(word) for word in ("Captions", "subtitles", "descriptions", "forced", "main", "x", "")] == [
        "caption", "subtitle", "description", "forced-subtitle", "main", None, None,
    ]  # fmt: skip
    assert all(role_of(role) == role for role in ROLES)
