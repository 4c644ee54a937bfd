"""What a track is for: the roles of DASH, the kinds that others call them, and what players are told by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ROLES: Sequence[str] = (
    "main", "alternate", "supplementary", "commentary", "dub", "description", "caption", "subtitle", "forced-subtitle",
    "sign", "emergency", "easyreader", "karaoke", "enhanced-audio-intelligibility", "metadata",
)  # fmt: skip
CAPTION, SUBTITLE, FORCED, DESCRIPTION = "caption", "subtitle", "forced-subtitle", "description"
_ALIASES = {
    "captions": CAPTION, "cc": CAPTION, "sdh": CAPTION, "hearing_impaired": CAPTION, "hearing-impaired": CAPTION,
    "subtitles": SUBTITLE, "sub": SUBTITLE, "subs": SUBTITLE, "forced": FORCED, "forced_subtitle": FORCED,
    "forced-subtitles": FORCED, "forced_subtitles": FORCED, "descriptions": DESCRIPTION, "main-desc": DESCRIPTION,
    "audio-description": DESCRIPTION, "audio_description": DESCRIPTION, "ad": DESCRIPTION,
    "visual_impaired": DESCRIPTION, "visual-impaired": DESCRIPTION, "alternative": "alternate", "comment": "commentary",
    "commentaries": "commentary", "translation": "dub", "easy-reader": "easyreader",
}  # fmt: skip
_CHARACTERISTICS = {
    DESCRIPTION: ["public.accessibility.describes-video"],
    CAPTION: ["public.accessibility.transcribes-spoken-dialog", "public.accessibility.describes-music-and-sound"],
    "easyreader": ["public.easy-to-read"],
    "enhanced-audio-intelligibility": ["public.accessibility.enhances-speech-intelligibility"],
}
_SCHEME = "urn:tva:metadata:cs:AudioPurposeCS:2007"
_PURPOSES = {DESCRIPTION: "1", CAPTION: "2", "enhanced-audio-intelligibility": "8"}
_LABELS = {
    "alternate": "alternate", "supplementary": "supplementary", "commentary": "commentary", "dub": "dubbed",
    DESCRIPTION: "audio description", CAPTION: "captions", FORCED: "forced", "sign": "sign language",
    "emergency": "emergency", "easyreader": "easy to read", "karaoke": "karaoke",
    "enhanced-audio-intelligibility": "clear speech", "metadata": "metadata",
}  # fmt: skip


def role_of(word: str) -> str | None:
    """The role that a role or a kind names; None where it names none."""
    lowered = word.strip().lower()
    found = _ALIASES.get(lowered, lowered)
    return found if found in ROLES else None


def accessible(role: str | None) -> bool:
    """Whether such a track is there for viewers who cannot see or hear well: it is never the default."""
    return role in _CHARACTERISTICS


def characteristics(role: str | None) -> str:
    """The value of HLS's CHARACTERISTICS; "" for none."""
    return ",".join(_CHARACTERISTICS.get(role or "", ()))


def purpose(role: str | None) -> tuple[str, str] | None:
    """(scheme, value) of DASH's Accessibility; None for none."""
    value = _PURPOSES.get(role or "")
    return (_SCHEME, value) if value else None


def wording(role: str | None) -> str:
    """What the name of a track says of its role; "" for ordinary ones."""
    return _LABELS.get(role or "", "")


def by_disposition(flags: Mapping[str, object], *, text: bool) -> str | None:
    """The role that a container's flags of a track say."""
    named = {"comment": "commentary", "dub": "dub", "visual_impaired": DESCRIPTION, "descriptions": DESCRIPTION,
             "karaoke": "karaoke"}  # fmt: skip
    if text:
        named = {"forced": FORCED, "hearing_impaired": CAPTION, "captions": CAPTION, "comment": "commentary"}
    return next((role for flag, role in named.items() if flags.get(flag)), None)
