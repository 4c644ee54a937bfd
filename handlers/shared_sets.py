"""The manifests of one set over shared segments: written, checked, put into the workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from posixpath import normpath
from urllib.parse import quote, unquote

from taskengine.handlers.stream_readers import StorageReader
from taskengine.handlers.support import in_thread, warn
from taskengine.media import dash, hls, hls_media
from taskengine.media.archive import cues, dash_writing, hls_writing
from taskengine.media.archive.hls_writing import GAP
from taskengine.media.archive.model import Marker, Piece, PlacedTrack, Timeline
from taskengine.media.archive.tracks import usual_rate
from taskengine.media.captions.cues import CaptionFault
from taskengine.media.packager import MASTER, MPD
from taskengine.media.protection import AES
from taskengine.media.tracks import Media, TrackKind
from taskengine.media.verify import VerificationFault, expect
from taskengine.ports import TaskContext


def referring(timelines: Sequence[Timeline], media: Media, up: str) -> Sequence[Timeline]:
    """The same, with the tracks of `media`, and with paths below the root as references from a set's folder (`up` leads from
    there to the root)."""
    known = {track.name: track for track in media.tracks}
    return [
        replace(
            timeline, tracks=[replace(_upwards(each, up), track=known[each.track.name]) for each in timeline.tracks]
        )
        for timeline in timelines
    ]


def _upwards(placed: PlacedTrack, up: str) -> PlacedTrack:
    segments = [replace(each, uri=_reference(each.uri, up)) for each in placed.segments]
    return replace(placed, init=_reference(placed.init, up), segments=segments)


def _reference(path: str, up: str) -> str:
    return f"{up}{quote(path)}" if path else ""


def tracks_in(media: Media, timelines: Sequence[Timeline]) -> Media:
    """The tracks that a set has: one of MPEG-TS lacks what that cannot carry."""
    return replace(media, tracks=[each for each in media.tracks if any(one.of(each.name) for one in timelines)])


async def read_cues(context: TaskContext, reader: StorageReader, timeline: Timeline, pieces: Sequence[Piece]) -> str:
    """What WebVTT segments say during a stretch, as one file whose times count from its beginning; "" where one cannot be
    read, which the log tells: HLS has it as it is."""
    resources = [piece.media for piece in pieces if piece.media is not None]
    texts = [(await reader.bytes_of(each)).decode("utf-8", errors="replace") for each in resources]
    try:
        return await in_thread(cues.joined, texts, timeline.begin, timeline.seconds)
    except CaptionFault as error:
        warn(context, f"captions of the archive are left out of the DASH manifest: {error}")
        return ""


def write(
    folder: Path, name: str, media: Media, timelines: Sequence[Timeline], markers: Sequence[Marker],
    texts: Mapping[str, str],
) -> None:  # fmt: skip
    """Write a set's manifests, and `texts` (names of files → WebVTT) beside them."""
    folder.mkdir()
    master = hls_media.described(hls_writing.master(media, timelines), media)
    documents = {
        f"{track.name}.m3u8": hls_writing.media_playlist(track.name, timelines, markers) for track in media.tracks
    }
    documents[MASTER] = master
    if name != AES:
        documents |= {MPD: dash_writing.mpd(media, timelines, markers), **texts}
    for path, text in documents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8", newline="\n")


def check(folder: Path, name: str, base: str, shared: Mapping[str, int], media: Media) -> None:
    """What the manifests of a set name is there: among the shared files (path → bytes), seen from `base`, or beside them."""
    for where, uri in _named(folder, name, media):
        if uri.rpartition("/")[2] == GAP or (folder / uri).is_file():
            continue
        path = normpath(f"{base}/{unquote(uri)}")
        expect(where, f"a segment at {path}", "none", holds=shared.get(path, 0) > 0)


def _named(folder: Path, name: str, media: Media) -> Iterator[tuple[str, str]]:
    try:
        master = hls.read_master((folder / MASTER).read_text(encoding="utf-8"))
        playlists = {*master.variants, *master.renditions}
        expect(MASTER, "the playlists of all tracks", sorted(playlists),
               holds=playlists == {f"{track.name}.m3u8" for track in media.tracks})  # fmt: skip
        for uri in sorted(playlists):
            playlist = hls.read_media((folder / uri).read_text(encoding="utf-8"))
            expect(uri, "an end", "none", holds=playlist.ended)
            yield from (
                (uri, each)
                for each in [*([playlist.init] if playlist.init else []), *(one for one, _ in playlist.segments)]
            )
        if name != AES:
            for representation in dash.read((folder / MPD).read_text(encoding="utf-8")):
                inits = [representation.init] if representation.init else []
                yield from ((MPD, each) for each in [*inits, *(one for one, _ in representation.segments)])
    except (hls.PlaylistFault, dash.ManifestFault, OSError) as error:
        raise VerificationFault(f"{name}: expected manifests, found that {error}") from error


def tracks_over(media: Media, timelines: Sequence[Timeline]) -> Media:
    """The tracks with the length and the frames that they have in all stretches."""
    found = []
    for track in media.tracks:
        placed = [each for timeline in timelines if (each := timeline.of(track.name))]
        seconds = sum(each.seconds(segment) for each in placed for segment in each.segments if segment.uri)
        size = sum(segment.size for each in placed for segment in each.segments)
        rate = round(size * 8 / seconds) if seconds and track.kind is not TrackKind.TEXT else track.bitrate
        frames = sum(segment.samples for each in placed for segment in each.segments)
        counted = frames if track.kind is TrackKind.VIDEO else None
        exact = track.frame_rate or (usual_rate(frames / seconds) if counted and seconds else None)
        found.append(replace(track, duration=seconds, bitrate=rate, frames=counted, frame_rate=exact))
    return replace(media, tracks=found, duration=sum(timeline.seconds for timeline in timelines))
