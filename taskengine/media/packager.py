"""Values into packager's command lines: CMAF segments, HLS playlists and a DASH manifest of one set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskengine.domain.errors import InputFault
from taskengine.media.drm import Encryption, encryption_argv
from taskengine.media.labels import default_audio, identities
from taskengine.media.languages import UNDETERMINED
from taskengine.media.tracks import Media, Track, TrackKind

MASTER = "master.m3u8"
MPD = "manifest.mpd"
INIT = "init.mp4"
TRICK = "trick"
TILES = "thumbnails"
TILES_PLAYLIST = "thumbnails.m3u8"
TRICK_MASTER = "key_frames.m3u8"  # is read and removed
KEY_FRAMES = "_iframe"
TRANSPORT_OFFSET_S = 2.0  # of all times in TS segments: by as much may decoding be ahead of showing
_SEGMENTS = "$Number%05d$.m4s"
_TRANSPORT = "$Number%05d$.ts"
_EACH_KEY_FRAME_S = 0.01  # shorter than a frame
_CODECS = {
    TrackKind.VIDEO: {"h264", "hevc", "av1", "vp9"},
    TrackKind.AUDIO: {"aac", "ac3", "eac3", "opus", "flac"},
}


def iframe_playlist(name: str) -> str:
    """The I-frame playlist of a rendition."""
    return f"{name}{KEY_FRAMES}.m3u8"


def least(videos: Sequence[Track]) -> Track:
    """The rendition whose key frames DASH has as trick play."""
    return min(videos, key=lambda track: (track.width or 0) * (track.height or 0))


def can_package(kind: TrackKind, codec: str) -> bool:
    """Whether a track can be packaged without encoding it."""
    return codec in _CODECS[kind]


def check_codec(source: str, kind: TrackKind, codec: str) -> None:
    """Raise an InputFault where a track of `source` cannot be packaged without encoding it."""
    if not can_package(kind, codec):
        able = ", ".join(sorted(_CODECS[kind]))
        raise InputFault(
            f"{source}: its {kind} codec {codec} cannot be packaged as it is (can be: {able}); use encode_source"
        )


def package(
    packager: str,
    media: Media,
    files: Mapping[str, str],
    folder: str,
    *,
    trick_play: bool = False,
    encryption: Encryption | None = None,
) -> list[str]:
    """Package every track but text into `folder`; `files`: track name → plain name of its MP4. The best track of a
    language leads. Names and roles that players are told are put into the manifests afterwards: here they have generated
    ones, which hold apart what is different.

    With `trick_play` every rendition has an I-frame playlist, and the least one a representation of key frames in DASH.
    """
    names = identities(media.tracks)
    groups = audio_groups(media.of(TrackKind.AUDIO))
    descriptors = [
        _descriptor(track, files[track.name], folder, names, groups, trick_play=trick_play)
        + _drm_label(track, encryption)
        for track in media.packaged
    ]
    if trick_play and (video := media.of(TrackKind.VIDEO)):
        smallest = least(video)
        descriptors.append(_trick_descriptor(files[smallest.name], folder) + _drm_label(smallest, encryption))
    default = default_language(media)
    return [
        packager, "--quiet", *descriptors,
        "--segment_duration", f"{media.segment_duration:g}",
        "--generate_static_live_mpd", "--hls_playlist_type", "VOD",
        "--mpd_output", f"{folder}/{MPD}", "--hls_master_playlist_output", f"{folder}/{MASTER}",
        *(["--default_language", default] if default else []),
        *(encryption_argv(encryption) if encryption else []),
    ]  # fmt: skip


def package_transport(
    packager: str, files: Mapping[str, str], encryption: Encryption, *, key_frames: bool = False
) -> list[str]:
    """Package the tracks of an encryption as TS segments, each encrypted whole, for HLS alone.

    `key_frames`: of pictures alone each key frame as a segment of its own, below a master of their own: a range of a
    segment that is encrypted whole cannot be read by itself.
    """
    media, folder = encryption.media, encryption.wanted.name
    names, groups = identities(media.tracks), audio_groups(media.of(TrackKind.AUDIO))
    tracks = media.of(TrackKind.VIDEO) if key_frames else media.packaged
    default = default_language(media)
    master, duration = (TRICK_MASTER, _EACH_KEY_FRAME_S) if key_frames else (MASTER, media.segment_duration)
    return [
        packager, "--quiet",
        *(
            _transport_descriptor(track, files[track.name], folder, names, groups, key_frames=key_frames)
            + _drm_label(track, encryption)
            for track in tracks
        ),
        "--segment_duration", f"{duration:g}", "--hls_playlist_type", "VOD",
        "--hls_master_playlist_output", f"{folder}/{master}",
        "--transport_stream_timestamp_offset_ms", f"{1000 * TRANSPORT_OFFSET_S:.0f}",
        *(["--default_language", default] if default else []),
        *encryption_argv(encryption),
    ]  # fmt: skip


def decrypt(packager: str, files: Sequence[tuple[str, TrackKind, str]], flags: str) -> list[str]:
    """Decrypt (file, kind, decrypted file) MP4s, the keys in the file of `flags`."""
    descriptors = [f"in={name},stream={kind.value},output={output}" for name, kind, output in files]
    return [packager, "--quiet", *descriptors, "--enable_raw_key_decryption", f"--flagfile={flags}"]


def _drm_label(track: Track, encryption: Encryption | None) -> str:
    return f",drm_label={encryption.key_of(track).label}" if encryption else ""


def default_language(media: Media) -> str | None:
    """The language that plays where nobody chooses."""
    track = default_audio(media)
    return track.language if track and track.language != UNDETERMINED else None


def _trick_descriptor(file: str, folder: str) -> str:
    """Key frames alone; not in the HLS master, where players would take it for a variant."""
    return (
        f"in={file},stream=video,init_segment={folder}/{TRICK}/{INIT},"
        f"segment_template={folder}/{TRICK}/{_SEGMENTS},trick_play_factor=1,dash_only=1"
    )


def _fields(track: Track, file: str, folder: str) -> dict[str, str]:
    return {
        "in": file,
        "stream": track.kind.value,
        "init_segment": f"{folder}/{track.name}/{INIT}",
        "segment_template": f"{folder}/{track.name}/{_SEGMENTS}",
        "playlist_name": f"{track.name}.m3u8",
    }


def _joined(fields: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in fields.items())


def _descriptor(
    track: Track, file: str, folder: str, names: Mapping[str, str], groups: Mapping[str, str], *, trick_play: bool
) -> str:
    fields = _fields(track, file, folder)
    if track.kind is TrackKind.AUDIO:
        fields |= _audio_fields(track, names[track.name], groups[track.name])
    elif trick_play:
        fields["iframe_playlist_name"] = iframe_playlist(track.name)
    return _joined(fields)


def _audio_fields(track: Track, name: str, group: str) -> Mapping[str, str]:
    language = {"language": track.language} if track.language != UNDETERMINED else {}
    return {"hls_group_id": group, "hls_name": name, **language, "dash_label": name}


def _transport_descriptor(
    track: Track, file: str, folder: str, names: Mapping[str, str], groups: Mapping[str, str], *, key_frames: bool
) -> str:
    name = f"{track.name}{KEY_FRAMES}" if key_frames else track.name
    fields = {
        "in": file, "stream": track.kind.value, "segment_template": f"{folder}/{name}/{_TRANSPORT}",
        "playlist_name": f"{name}.m3u8",
    }  # fmt: skip
    if track.kind is TrackKind.AUDIO:
        fields |= _audio_fields(track, names[track.name], groups[track.name])
    return _joined(fields | ({"trick_play_factor": "1"} if key_frames else {}))


def audio_groups(tracks: Sequence[Track]) -> Mapping[str, str]:
    """Track name → HLS group: in a group every name comes once, with one codec and kind of layout."""
    groups: dict[tuple[str, bool, int], str] = {}
    seen: dict[tuple[str, str, bool], int] = {}
    names = identities(tracks)
    result = {}
    for track in tracks:
        surround = (track.channels or 2) > 2
        again = (names[track.name], track.codec, surround)
        seen[again] = seen.get(again, 0) + 1
        key = (track.codec, surround, seen[again])
        number = len(groups) + 1
        result[track.name] = groups.setdefault(key, "audio" if number == 1 else f"audio_{number}")
    return result
