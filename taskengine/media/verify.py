"""Is it right? Each artefact is checked before it is published; a fault says what was expected and what was found.

These functions read files: call them in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from taskengine.domain.errors import InternalFault
from taskengine.media import dash, hls, mp4
from taskengine.media.captions import vtt
from taskengine.media.captions.cues import CaptionFault
from taskengine.media.encoding import Encoding
from taskengine.media.packager import INIT, MASTER, MPD, TRICK, iframe_playlist
from taskengine.media.tracks import Media, Track, TrackKind, text_file

_HANDLERS = {TrackKind.VIDEO: "vide", TrackKind.AUDIO: "soun", TrackKind.TEXT: "sbtl"}
_CODECS = {"h264": "avc1", "hevc": "hvc1", "av1": "av01"}  # as manifests call what is encoded here
_ROUNDING_S = 0.002  # playlists round to milliseconds


class VerificationFault(InternalFault):
    """An artefact is not what was planned."""


def expect(what: str, expected: object, found: object, *, holds: bool) -> None:
    """Raise a VerificationFault where it does not hold."""
    if not holds:
        raise VerificationFault(f"{what}: expected {expected}, found {found}")


def whole_file(path: Path, what: str) -> None:
    """It exists and is not empty."""
    size = path.stat().st_size if path.is_file() else -1
    expect(what, "a file", "none" if size < 0 else f"{size} bytes", holds=size > 0)


def movie(path: Path, what: str) -> mp4.Movie:
    """Its movie box, or a fault."""
    whole_file(path, what)
    try:
        return mp4.read_movie(path)
    except mp4.BoxFault as error:
        raise VerificationFault(f"{what}: expected a whole MP4, found that {error}") from error


def encoded_track(folder: Path, track: Track, *, exact: bool) -> int:
    """An encoded file has one track of the planned kind, length and number of frames; how many samples it has."""
    what = f"{track.name}.mp4"
    tracks = movie(folder / what, what).tracks
    expect(what, f"one {track.kind} track", [found.handler for found in tracks],
            holds=[found.handler for found in tracks] == [_HANDLERS[track.kind]])  # fmt: skip
    length(what, track.duration, tracks[0].seconds, track.tolerance)
    if track.frames is not None:
        off = abs(tracks[0].samples - track.frames)
        expect(what, f"{track.frames} frames", f"{tracks[0].samples}", holds=off <= (0 if exact else 1))
    return tracks[0].samples


def copied_track(path: Path, track: Track, least_frames: int | None) -> Track:
    """The track with the length and the frames that its file has, which are no fewer than its source's."""
    found = [entry for entry in movie(path, path.name).tracks if entry.handler == _HANDLERS[track.kind]]
    expect(path.name, f"one {track.kind} track", len(found), holds=len(found) == 1)
    if found[0].samples == 0:  # a fragmented MP4, taken as it is
        return track
    if least_frames is not None:
        expect(path.name, f"{least_frames} frames", found[0].samples, holds=found[0].samples >= least_frames)
    frames = found[0].samples if track.kind is TrackKind.VIDEO else None
    return replace(track, duration=found[0].seconds, frames=frames)


def encoding(folder: Path, planned: Encoding) -> Mapping[str, int]:
    """Every output of an encoding is there and as planned; the number of samples of each track."""
    exact = bool(planned.video and planned.video.exact)
    counts = {track.name: encoded_track(folder, track, exact=exact) for track in planned.tracks()}
    images(folder, poster=planned.poster is not None, sheets=planned.previews.sheets if planned.previews else 0)
    return counts


def joined(folder: Path, chunks: Sequence[str], track: Track) -> int:
    """A track that was joined has all frames, each as long as the others, and its chunks are of one encoder's settings;
    how many frames it has."""
    samples = encoded_track(folder, track, exact=True)
    if chunks:
        lengths = mp4.sample_durations(folder / f"{track.name}.mp4")
        expect(f"{track.name}.mp4", "frames of one length", sorted(lengths), holds=len(lengths) == 1)
        settings = {mp4.sample_description(folder / name) for name in chunks}
        expect(track.name, "chunks with the same parameter sets", f"{len(settings)} kinds", holds=len(settings) == 1)
    return samples


def images(folder: Path, *, poster: bool, sheets: int) -> None:
    """The JPEGs are there and whole."""
    whole_jpegs(
        folder, [*(["poster.jpg"] if poster else []), *(f"sheet_{number}.jpg" for number in range(1, sheets + 1))]
    )


def whole_jpegs(folder: Path, names: Sequence[str]) -> None:
    """These files are whole JPEGs."""
    for name in names:
        whole_file(folder / name, name)
        data = (folder / name).read_bytes()
        whole = data.startswith(b"\xff\xd8") and data.rstrip(b"\0").endswith(b"\xff\xd9")
        expect(name, "a whole JPEG", f"{len(data)} bytes of something else", holds=whole)


def length(what: str, expected: float, found: float, tolerance: float) -> None:
    """It is as long as expected, in seconds."""
    near = abs(expected - found) <= tolerance + _ROUNDING_S
    expect(what, f"{expected:.3f} s (± {tolerance:.3f})", f"{found:.3f} s", holds=near)


def package(folder: Path, media: Media) -> Sequence[tuple[str, str]]:
    """A packaged set: manifests name what is there, tracks are as long as their sources.

    Returns the (init, segment) pairs, relative to `folder`, whose decoding shows the rest: first and last of each track.
    """
    whole_file(folder / MASTER, MASTER)
    whole_file(folder / MPD, MPD)
    _master(folder, media)
    _manifest(folder, media)
    pairs: list[tuple[str, str]] = []
    for track in media.packaged:
        pairs += _packaged_track(folder, track)
    for track in media.of(TrackKind.TEXT):
        text_track(folder, track, media.duration)
    codecs(folder, media)
    return pairs


def codecs(folder: Path, media: Media) -> None:
    """Both manifests say what players must be able to decode, and whether it is HDR; what is copied says it itself."""
    encoded = {f"{track.name}.m3u8": track for track in media.of(TrackKind.VIDEO) if not track.copied}
    for uri, named, video_range in hls.read_looks((folder / MASTER).read_text(encoding="utf-8")):
        if (track := encoded.get(uri)) is not None:
            _codec(f"{MASTER}, {uri}", track, named)
            hdr = video_range in {"PQ", "HLG"}
            expect(f"{MASTER}, {uri}", "HDR" if track.hdr else "SDR", video_range, holds=hdr == track.hdr)
    by_init = {f"{track.name}/{INIT}": track for track in encoded.values()}
    for representation in dash.read((folder / MPD).read_text(encoding="utf-8")):
        if (track := by_init.get(str(representation.init))) is not None:
            _codec(f"{MPD}, {track.name}", track, [representation.codecs])


def _codec(what: str, track: Track, named: Sequence[str]) -> None:
    prefix = _CODECS[track.codec]
    expect(what, f"a codec {prefix}", ",".join(named), holds=any(name.startswith(f"{prefix}.") for name in named))


def trick_play(folder: Path, media: Media) -> None:
    """Every rendition has an I-frame playlist whose byte ranges lie in its segments, and DASH its key frames."""
    for track in media.of(TrackKind.VIDEO):
        name = iframe_playlist(track.name)
        whole_file(folder / name, name)
        try:
            frames = hls.read_key_frames((folder / name).read_text(encoding="utf-8"))
        except hls.PlaylistFault as error:
            raise VerificationFault(f"{name}: expected an I-frame playlist, found that {error}") from error
        for uri, offset, length in frames:
            size = (folder / uri).stat().st_size if (folder / uri).is_file() else 0
            expect(f"{name}, {uri}", f"{length} bytes at {offset}", f"{size} in all", holds=offset + length <= size)
    whole_file(folder / TRICK / INIT, f"{TRICK}/{INIT}")


def _master(folder: Path, media: Media) -> None:
    try:
        master = hls.read_master((folder / MASTER).read_text(encoding="utf-8"))
    except hls.PlaylistFault as error:
        raise VerificationFault(f"{MASTER}: expected a master playlist, found that {error}") from error
    expected = {f"{track.name}.m3u8" for track in media.tracks}
    found = {*master.variants, *master.renditions}
    expect(MASTER, f"the playlists {sorted(expected)}", sorted(found), holds=found == expected)


def _manifest(folder: Path, media: Media) -> None:
    try:
        representations = dash.read((folder / MPD).read_text(encoding="utf-8"))
    except dash.ManifestFault as error:
        raise VerificationFault(f"{MPD}: expected a manifest, found that {error}") from error
    by_init = {representation.init: representation for representation in representations}
    texts = {representation.id for representation in representations if representation.content == "text"}
    expected = {track.name for track in media.of(TrackKind.TEXT)}
    expect(MPD, f"the texts {sorted(expected)}", sorted(texts), holds=texts == expected)
    for track in media.packaged:
        representation = by_init.get(f"{track.name}/init.mp4")
        if representation is None:
            raise VerificationFault(
                f"{MPD}: expected a representation of {track.name}, found {sorted(map(str, by_init))}"
            )
        length(f"{MPD}, {track.name}", track.duration, representation.duration, track.tolerance)
        for uri, _ in representation.segments:
            whole_file(folder / uri, f"{MPD}, {uri}")


def _packaged_track(folder: Path, track: Track) -> Sequence[tuple[str, str]]:
    name = f"{track.name}.m3u8"
    whole_file(folder / name, name)
    try:
        playlist = hls.read_media((folder / name).read_text(encoding="utf-8"))
    except hls.PlaylistFault as error:
        raise VerificationFault(f"{name}: expected a media playlist, found that {error}") from error
    expect(name, "an end", "none", holds=playlist.ended)
    if playlist.init is None:
        raise VerificationFault(f"{name}: expected an init segment, found none")
    length(name, track.duration, playlist.duration, track.tolerance + 0.0005 * len(playlist.segments))
    _fragments(folder, track, playlist)
    uris = [uri for uri, _ in playlist.segments]
    return [(playlist.init, uri) for uri in dict.fromkeys((uris[0], uris[-1]))]


def text_track(folder: Path, track: Track, duration: float) -> None:
    """Its playlist names a WebVTT file that parses and does not go on after the asset."""
    name = f"{track.name}.m3u8"
    whole_file(folder / name, name)
    try:
        playlist = hls.read_media((folder / name).read_text(encoding="utf-8"))
        end = vtt.last_end((folder / playlist.segments[0][0]).read_text(encoding="utf-8")) / 1000
    except (hls.PlaylistFault, CaptionFault, OSError) as error:
        raise VerificationFault(f"{name}: expected a playlist of WebVTT, found that {error}") from error
    expect(name, "an end", "none", holds=playlist.ended)
    length(name, duration, playlist.duration, 0.001)
    expect(text_file(track.name), f"cues within {duration:.3f} s", f"one until {end:.3f} s",
            holds=end <= duration + _ROUNDING_S)  # fmt: skip


def _fragments(folder: Path, track: Track, playlist: hls.MediaPlaylist) -> None:
    """The segments parse, follow one another without a gap and have all frames."""
    init = movie(folder / str(playlist.init), f"{track.name}/init.mp4")
    timescale = init.tracks[0].timescale
    defaults = {found.id: found.default_duration for found in init.tracks}
    fragments: list[mp4.Fragment] = []
    for uri, _ in playlist.segments:
        whole_file(folder / uri, uri)
        try:
            fragments += mp4.read_fragments(folder / uri, defaults)
        except mp4.BoxFault as error:
            raise VerificationFault(f"{uri}: expected a whole segment, found that {error}") from error
    for before, after in pairwise(fragments):
        gap = after.begin - before.begin - before.duration
        expect(track.name, "segments that follow one another", f"a gap of {gap / timescale:.3f} s",
                holds=abs(gap) <= timescale * track.tolerance)  # fmt: skip
    total = sum(fragment.duration for fragment in fragments) / timescale
    length(f"{track.name}, its segments", track.duration, total, track.tolerance)
    if track.frames is not None:
        frames = sum(fragment.samples for fragment in fragments)
        expect(f"{track.name}, its segments", f"{track.frames} frames", frames, holds=frames == track.frames)


def progressive(path: Path, expected: Sequence[Track]) -> None:
    """A progressive MP4 has its index first and the planned tracks in full length."""
    found = movie(path, "the progressive MP4")
    expect("the progressive MP4", "its index first", "it last", holds=found.index_first)
    kinds = [track.handler for track in found.tracks]
    expect("the progressive MP4", [_HANDLERS[track.kind] for track in expected], kinds,
            holds=kinds == [_HANDLERS[track.kind] for track in expected])  # fmt: skip
    for track, planned in zip(found.tracks, expected, strict=True):
        if planned.kind is TrackKind.TEXT:
            continue  # it lasts from its first cue to its last
        length(f"the progressive MP4, {planned.name}", planned.duration, track.seconds, planned.tolerance)
