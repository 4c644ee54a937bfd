"""Which segments of an archive cover a clip, where it has to be cut, and what is missing. Times are UTC ms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from taskengine.media.archive.model import Missing, Piece, Stretch
from taskengine.media.streams.model import Resource, Segment
from taskengine.media.tracks import Track, TrackKind

TOLERANCE_MS = 100  # by which manifests round, and tracks end apart


def covering(segments: Iterable[Segment], start: int, end: int) -> Sequence[Piece]:
    """The segments of a rendition that have a time of the clip in them, in order."""
    found = []
    for each in segments:
        if each.at is None or each.at >= end or each.at + round(each.duration * 1000) <= start:
            continue
        found.append(Piece(each.at, each.duration, None if each.gap else each.media, each.init, each.run))
    return sorted(found, key=lambda piece: piece.at)


def reference(tracks: Sequence[Track]) -> Track:
    """The track by whose segments a clip is cut: the best picture, else the first track."""
    return next((track for track in tracks if track.kind is TrackKind.VIDEO), tracks[0])


def stretches(capture_id: str, tracks: Sequence[Track], pieces: Mapping[str, Sequence[Piece]]) -> Sequence[Stretch]:
    """The clip cut wherever players cannot simply go on: at gaps, discontinuities and other init segments."""
    leading = [piece for piece in pieces[reference(tracks).name] if piece.media]
    breaks = [at for track in tracks for at in _changes(pieces[track.name])]
    runs: list[list[Piece]] = []
    for piece in leading:
        if not runs or _breaks(runs[-1][-1], piece, breaks):
            runs.append([])
        runs[-1].append(piece)
    spans = [(run[0].at, run[-1].end) for run in runs]
    shared = {track.name: _shared_out(pieces[track.name], spans) for track in tracks}
    return [
        Stretch(
            capture_id, begin, (end - begin) / 1000, {name: parts[index] for name, parts in shared.items() if parts[index]}
        )
        for index, (begin, end) in enumerate(spans)
    ]  # fmt: skip


def _changes(pieces: Sequence[Piece]) -> Iterable[int]:
    """When a track goes on with another init segment."""
    there = [piece for piece in pieces if piece.media]
    return (after.at for before, after in pairwise(there) if before.init != after.init)


def _breaks(before: Piece, after: Piece, breaks: Sequence[int]) -> bool:
    changed = any(before.at + TOLERANCE_MS < at <= after.at + TOLERANCE_MS for at in breaks)
    return before.run != after.run or changed or abs(after.at - before.end) > TOLERANCE_MS


def _shared_out(pieces: Sequence[Piece], spans: Sequence[tuple[int, int]]) -> Sequence[Sequence[Piece]]:
    """Each piece in the span that it has most in common with; those that have next to nothing in common with any are left
    out. Holes within a span are pieces that are missing."""
    found: list[list[Piece]] = [[] for _ in spans]
    for piece in pieces:
        common = [min(end, piece.end) - max(begin, piece.at) for begin, end in spans]
        best = max(range(len(spans)), key=common.__getitem__, default=None)
        if piece.media and best is not None and common[best] > min(TOLERANCE_MS, piece.seconds * 500):
            found[best].append(piece)
    return [_filled(parts, begin, end) for parts, (begin, end) in zip(found, spans, strict=True)]


def _filled(pieces: Sequence[Piece], begin: int, end: int) -> Sequence[Piece]:
    """The pieces with what is missing between them, as pieces that are not longer than the longest of them."""
    if not pieces:
        return []
    longest = max(piece.seconds for piece in pieces)
    filled: list[Piece] = []
    for hole in holes(pieces, begin, end):
        count = max(1, round(hole.seconds / longest))
        filled += [
            Piece(hole.at + round(index * hole.seconds * 1000 / count), hole.seconds / count, None)
            for index in range(count)
        ]
    return sorted([*pieces, *filled], key=lambda piece: piece.at)


def holes(pieces: Sequence[Piece], begin: int, end: int) -> Sequence[Missing]:
    """The times from `begin` to `end` of which there is no piece."""
    found, at = [], begin
    for piece in [*(each for each in pieces if each.media), Piece(end, 0.0, Resource(""))]:
        if min(piece.at, end) - at > TOLERANCE_MS:
            found.append(Missing(at, (min(piece.at, end) - at) / 1000))
        at = max(at, piece.end)
    return found


def missing(tracks: Sequence[Track], pieces: Mapping[str, Sequence[Piece]], start: int, end: int) -> Sequence[Missing]:
    """The times of a clip of which a picture or a sound is missing. Texts may be missing: nobody may have spoken."""
    found = [
        each
        for track in tracks
        if track.kind is not TrackKind.TEXT
        for each in holes(pieces[track.name], start, end)
    ]  # fmt: skip
    merged: list[Missing] = []
    for each in sorted(found, key=lambda one: one.at):
        before = merged[-1] if merged else None
        if before and each.at <= before.at + before.seconds * 1000:
            until = max(before.at + before.seconds * 1000, each.at + each.seconds * 1000)
            merged[-1] = Missing(before.at, (until - before.at) / 1000)
        else:
            merged.append(each)
    return merged


def without(pieces: Sequence[Piece], lost: frozenset[str]) -> Sequence[Piece]:
    """The pieces, those whose files are lost as missing ones."""
    return [replace(piece, media=None) if piece.media and piece.media.url in lost else piece for piece in pieces]
