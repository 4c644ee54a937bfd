"""Names: what is a media file by its name, what language its name says, what a published file may be called."""

from __future__ import annotations

import unicodedata
from enum import StrEnum

from taskengine.domain.errors import InputFault
from taskengine.domain.paths import PathFault, logical_path
from taskengine.media.languages import said_by_name, tag_of

MAX_STEM_BYTES = 200


class SourceKind(StrEnum):
    """What a source is by the extension of its name."""

    VIDEO = "video"  # a container that may hold video and audio
    AUDIO = "audio"
    TEXT = "text"


_EXTENSIONS = {
    SourceKind.VIDEO: "mp4 m4v mov mpg mpeg mkv avi ts m2ts mts webm mxf",
    SourceKind.AUDIO: "m4a aac mp3 wav flac ac3 eac3 ec3 mka",
    SourceKind.TEXT: "srt vtt ttml dfxp scc",
}
_KIND_OF = {extension: kind for kind, names in _EXTENSIONS.items() for extension in names.split()}


def extension(name: str) -> str:
    """What follows the last dot, in lower case; "" where there is none."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def source_kind(name: str) -> SourceKind | None:
    """What the name says; None: not a media file (hidden files are none)."""
    return None if name.startswith(".") else _KIND_OF.get(extension(name))


def language_of(name: str) -> str | None:
    """The language that follows the last underscore of a file name (`film_eng.m4a`, `film_pt-BR.srt`), if it is one."""
    stem = name.rpartition(".")[0] or name
    _, underscore, tail = stem.rpartition("_")
    return tag_of(tail) if underscore and said_by_name(tail.partition("-")[0]) else None


def file_stem(content_id: str) -> str:
    """`content_id` as the stem of published file names: characters that no file name may have become `_`."""
    text = unicodedata.normalize("NFC", content_id)
    stem = "".join("_" if _unfit(character) else character for character in text).strip() or "_"
    while len(stem.encode()) > MAX_STEM_BYTES:
        stem = stem[:-1]
    return f"_{stem}" if stem.startswith(".") or _refused(stem) else stem


def file_name(text: str, field: str) -> str:
    """`text` as the name of one published file; InputFault names `field` where it cannot be one."""
    try:
        name = logical_path(text)
    except PathFault as error:
        raise InputFault(f"{field}: {error}") from error
    if "/" in name:
        raise InputFault(f"{field}: {text!r} is not the name of one file")
    return name


def _unfit(character: str) -> bool:
    return character in "/\\" or unicodedata.category(character) in {"Cc", "Cs"}


def _refused(stem: str) -> bool:
    try:
        logical_path(stem)
    except PathFault:
        return True
    return False
