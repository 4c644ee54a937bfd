"""Values into packager's command lines: CMAF segments, HLS playlists and a DASH manifest of one set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskengine.domain.errors import InputFault
from taskengine.media.tracks import Media, Track, TrackKind

MASTER = "master.m3u8"
MPD = "manifest.mpd"
INIT = "init.mp4"
TRICK = "trick"
TILES = "thumbnails"
TILES_PLAYLIST = "thumbnails.m3u8"
_SEGMENTS = "$Number%05d$.m4s"
_CODECS = {
    TrackKind.VIDEO: {"h264", "hevc", "av1", "vp9"},
    TrackKind.AUDIO: {"aac", "ac3", "eac3", "opus", "flac"},
}
_CHARACTERISTICS = {
    "description": "public.accessibility.describes-video",
    "caption": "public.accessibility.describes-music-and-sound",
}
DASH_ROLES = frozenset({"main", "alternate", "supplementary", "commentary", "dub", "description", "caption"})


def iframe_playlist(name: str) -> str:
    """The I-frame playlist of a rendition."""
    return f"{name}_iframe.m3u8"


def check_codec(source: str, kind: TrackKind, codec: str) -> None:
    """Raise an InputFault where a track of `source` cannot be packaged without encoding it."""
    if codec not in _CODECS[kind]:
        able = ", ".join(sorted(_CODECS[kind]))
        raise InputFault(
            f"{source}: its {kind} codec {codec} cannot be packaged as it is (can be: {able}); use encode_source"
        )


def package(
    packager: str, media: Media, files: Mapping[str, str], folder: str, *, trick_play: bool = False
) -> list[str]:
    """Package every track into `folder`; `files`: track name → plain name of its MP4. The best track of a language leads.

    With `trick_play` every rendition has an I-frame playlist, and the least one a representation of key frames in DASH.
    """
    groups = audio_groups(media.of(TrackKind.AUDIO))
    descriptors = [
        _descriptor(track, files[track.name], folder, groups.get(track.name), trick_play=trick_play)
        for track in media.tracks
    ]
    if trick_play and (video := media.of(TrackKind.VIDEO)):
        least = min(video, key=lambda track: (track.width or 0) * (track.height or 0))
        descriptors.append(_trick_descriptor(files[least.name], folder))
    default = default_language(media)
    return [
        packager, "--quiet", *descriptors,
        "--segment_duration", f"{media.segment_duration:g}",
        "--generate_static_live_mpd", "--hls_playlist_type", "VOD",
        "--mpd_output", f"{folder}/{MPD}", "--hls_master_playlist_output", f"{folder}/{MASTER}",
        *(["--default_language", default] if default else []),
    ]  # fmt: skip


def default_language(media: Media) -> str | None:
    """The language that plays where nobody chooses: the first audio track's."""
    audio = media.of(TrackKind.AUDIO)
    return audio[0].language if audio and audio[0].language != "und" else None


def _trick_descriptor(file: str, folder: str) -> str:
    """Key frames alone; not in the HLS master, where players would take it for a variant."""
    return (
        f"in={file},stream=video,init_segment={folder}/{TRICK}/{INIT},"
        f"segment_template={folder}/{TRICK}/{_SEGMENTS},trick_play_factor=1,dash_only=1"
    )


def _descriptor(track: Track, file: str, folder: str, group: str | None, *, trick_play: bool) -> str:
    fields = {
        "in": file,
        "stream": track.kind.value,
        "init_segment": f"{folder}/{track.name}/{INIT}",
        "segment_template": f"{folder}/{track.name}/{_SEGMENTS}",
        "playlist_name": f"{track.name}.m3u8",
    }
    if track.kind is TrackKind.VIDEO and trick_play:
        fields["iframe_playlist_name"] = iframe_playlist(track.name)
    if track.kind is TrackKind.AUDIO:
        fields |= {"hls_group_id": group or "audio", "hls_name": _label(track)}
        fields |= {"language": track.language} if track.language != "und" else {}
        fields |= {"dash_roles": track.role} if track.role in DASH_ROLES else {}
        if track.role in _CHARACTERISTICS:
            fields["hls_characteristics"] = _CHARACTERISTICS[track.role]
    return ",".join(f"{name}={value}" for name, value in fields.items())


def _label(track: Track) -> str:
    """What players call it: no client text, codes and roles alone."""
    name = "audio" if track.language == "und" else track.language
    return f"{name} {track.role}" if track.role in DASH_ROLES and track.role != "main" else name


def audio_groups(tracks: Sequence[Track]) -> Mapping[str, str]:
    """Track name → HLS group: in a group every language and role comes once, with one codec and kind of layout."""
    groups: dict[tuple[str, bool, int], str] = {}
    seen: dict[tuple[str, str, bool], int] = {}
    result = {}
    for track in tracks:
        surround = (track.channels or 2) > 2
        again = (_label(track), track.codec, surround)
        seen[again] = seen.get(again, 0) + 1
        key = (track.codec, surround, seen[again])
        number = len(groups) + 1
        result[track.name] = groups.setdefault(key, "audio" if number == 1 else f"audio_{number}")
    return result
