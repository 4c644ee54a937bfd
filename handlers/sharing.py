"""Placing the segments of one stretch among the shared ones, clear and encrypted, and saying where they are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from taskengine.domain.errors import InputFault
from taskengine.handlers.locking import Lock, Signal, initialization_vector
from taskengine.handlers.shelf import Shelf
from taskengine.handlers.splitting import Source, aligned, split
from taskengine.handlers.stream_readers import StorageReader
from taskengine.handlers.support import in_thread, together
from taskengine.media.archive import boxes, cues
from taskengine.media.archive.boxes import Init, Times
from taskengine.media.archive.model import Inband, Piece, Placed, PlacedTrack, Stretch
from taskengine.media.archive.naming import base_of, clock_folder, short_digest, track_folder
from taskengine.media.archive.rewriting import without_edits
from taskengine.media.archive.tracks import codecs_by
from taskengine.media.mp4 import BoxFault
from taskengine.media.packager import TRANSPORT_OFFSET_S
from taskengine.media.protection import AES, CLEAR
from taskengine.media.streams.model import Resource
from taskengine.media.tracks import Track, TrackKind
from taskengine.ports import TaskContext

_BATCH = 8  # segments in memory at a time
_AT_ONCE = 8
_SCTE35 = "urn:scte:scte35:"
_TEXT_TIMESCALE = 1000


@dataclass(frozen=True, slots=True)
class SetPlan:
    """A set to make for one archive; `lock` is None for the clear one. `folder`: the protection that its segments lie below."""

    name: str
    folder: str
    lock: Lock | None = None

    def has(self, track: Track) -> bool:
        """Whether the set has a track: MPEG-TS does not carry all."""
        return self.lock is None or any(each.name == track.name for each in self.lock.encryption.media.tracks)

    @property
    def whole(self) -> bool:
        """Whether its segments are MPEG-TS, encrypted whole."""
        return self.lock is not None and self.lock.whole


@dataclass(frozen=True, slots=True)
class _Brought:
    """A segment of the archive."""

    piece: Piece
    data: bytes
    times: Times


class Sharing:
    """Brings segments of one archive and places those that are not there yet."""

    def __init__(self, context: TaskContext, reader: StorageReader, shelf: Shelf, capture_id: str) -> None:
        self._context, self._reader, self._shelf, self._capture_id = context, reader, shelf, capture_id
        self._sources: dict[tuple[object, ...], Source] = {}
        self._signals: dict[tuple[object, ...], Mapping[str, Signal]] = {}
        self._numbers = count(1)
        self._turn = asyncio.Lock()

    async def source(self, stretch: Stretch, track: Track) -> Source | None:
        """How the segments of a track become CMAF; None where they are WebVTT. InputFault where they cannot."""
        first = _first(stretch, track)
        if first.media is None or (first.init is None and track.kind is TrackKind.TEXT):
            return None
        key = (first.init or (stretch.at, track.name), track.kind)
        if key not in self._sources:
            self._sources[key] = await self._read_source(first, first.media, track.kind)
        return self._sources[key]

    async def _read_source(self, first: Piece, media: Resource, kind: TrackKind) -> Source:
        named = first.init or media
        head = await self._bytes(first.init) if first.init else b""
        try:
            if first.init and boxes.count_tracks(head) == 1:
                found = Source(head, boxes.read_init(head), self._name(first.init))
            else:
                [(init, _)] = await split(self._context, kind, [head + await self._bytes(media)], self._name(media))
                origin = f"{re.sub('[0-9]+', '#', self._name(named))} {kind.value}"
                init = without_edits(init)
                found = Source(init, boxes.read_init(init), origin, head)
        except BoxFault as error:
            raise InputFault(f"{self._name(named)}: the archive must have fMP4 or TS: {error}") from error
        if found.facts.protected:
            raise InputFault(f"{self._name(named)}: it is encrypted: segments that are shared must be clear")
        return found

    async def place(
        self, stretch: Stretch, track: Track, plans: Sequence[SetPlan], codecs: str, inband: Sequence[Inband]
    ) -> Mapping[str, PlacedTrack]:
        """A track of a stretch in each set (by the set's name)."""
        plans = [plan for plan in plans if plan.has(track)]
        pieces = stretch.pieces[track.name]
        source = await self.source(stretch, track)
        if source is None:
            return await self._place_text(track, pieces, plans)
        init = source.facts
        folder = track_folder(track, source.origin, source.init)
        [first] = await self._bring([_first(stretch, track)], source, track.kind)
        signals = {plan.name: (await self._signal(plan, stretch))[track.name] for plan in _locked(track, plans)}
        found: dict[str, PlacedTrack] = {}
        places: dict[str, str] = {}
        for plan in plans:
            signal = signals.get(plan.name)
            base = f"{base_of(self._capture_id)}/{plan.folder if signal else CLEAR}/{folder}"
            keyed = plan.lock.keyed(track) if plan.lock and signal else ""
            base += f"-{keyed}" if keyed else ""
            clock = clock_folder(first.piece.at, first.times.begin / init.timescale, await self._shelf.folders(base))
            places[plan.name] = f"{base}/{clock}"
            whole = plan.whole and track.kind is not TrackKind.TEXT
            own = "" if whole else await self._put_init(base, signal.init if signal else source.init)
            found[plan.name] = PlacedTrack(
                track, own, init.timescale, [], codecs_by(codecs, init), signal.keys if signal else (),
                signal.protection if signal else (), keyed, inband,
            )  # fmt: skip
        segments: dict[str, list[Placed]] = {plan.name: [] for plan in plans}
        schemes: set[str] = set()
        for begin in range(0, len(pieces), _BATCH):
            await self._place_batch(track, source, pieces[begin : begin + _BATCH], plans, places, segments, schemes)
        told = inband or [Inband(scheme) for scheme in sorted(schemes) if scheme.startswith(_SCTE35)]
        return {name: replace(each, segments=segments[name], inband=told) for name, each in found.items()}

    async def _place_batch(
        self, track: Track, source: Source, pieces: Sequence[Piece], plans: Sequence[SetPlan],
        places: Mapping[str, str], segments: Mapping[str, list[Placed]], schemes: set[str],
    ) -> None:  # fmt: skip
        brought = await self._bring([piece for piece in pieces if piece.media], source, track.kind)
        for each in brought:
            schemes |= boxes.message_schemes(each.data)
        done: set[str] = set()
        for plan in plans:
            place = places[plan.name]
            whole = plan.whole and track.kind is not TrackKind.TEXT
            paths = [f"{place}/{each.times.begin}.{'ts' if whole else 'm4s'}" for each in brought]
            if place not in done:  # texts are clear in every set
                await self._write(
                    track, source.init, brought, paths, plan if plan.lock and track.kind is not TrackKind.TEXT else None
                )
            done.add(place)
            by_piece = {each.piece: (each, path) for each, path in zip(brought, paths, strict=True)}
            segments[plan.name].extend(
                self._placed(piece, by_piece.get(piece), source.facts, whole=whole) for piece in pieces
            )

    def _placed(self, piece: Piece, found: tuple[_Brought, str] | None, init: Init, *, whole: bool) -> Placed:
        if found is None:
            return Placed("", piece.at, 0, round(piece.seconds * init.timescale))
        each, path = found
        vector = initialization_vector(path) if whole else ""
        times = each.times
        return Placed(path, piece.at, times.begin, times.duration, self._shelf.used[path], times.samples, vector)

    async def _write(
        self, track: Track, init: bytes, brought: Sequence[_Brought], paths: Sequence[str], plan: SetPlan | None
    ) -> None:
        """Those that are not there, encrypted where a plan says so."""
        there = await together(
            [
                self._shelf.has(path, len(each.data) if plan is None else None)
                for each, path in zip(brought, paths, strict=True)
            ],
            _AT_ONCE,
        )
        wanted = [
            (each.data, path, f"shared_{next(self._numbers)}.m4s")
            for each, path, known in zip(brought, paths, there, strict=True) if not known
        ]  # fmt: skip
        if not wanted:
            return
        if plan is not None and plan.lock is not None:
            await plan.lock.close(
                track, init, [data for data, _, _ in wanted], [name for _, _, name in wanted],
                [path for _, path, _ in wanted],
            )  # fmt: skip
        else:
            for data, _, name in wanted:
                await in_thread((self._context.scratch / name).write_bytes, data)
        await together([self._put(name, path) for _, path, name in wanted], _AT_ONCE)

    async def _put(self, name: str, path: str) -> None:
        source = self._context.scratch / name
        await self._shelf.put(source, path)
        await in_thread(source.unlink)

    async def _put_init(self, base: str, data: bytes) -> str:
        path = f"{base}/init-{short_digest(data)}.mp4"
        if not await self._shelf.has(path, len(data)):
            name = f"init_{next(self._numbers)}.mp4"
            await in_thread((self._context.scratch / name).write_bytes, data)
            await self._put(name, path)
        return path

    async def _signal(self, plan: SetPlan, stretch: Stretch) -> Mapping[str, Signal]:
        """What manifests tell of the tracks of a stretch; once for the same init segments."""
        if plan.lock is None:
            return {}
        tracks = [track for track in plan.lock.encryption.media.packaged if track.name in stretch.pieces]
        found = {track.name: await self.source(stretch, track) for track in tracks}
        sources = {name: source for name, source in found.items() if source}
        key = (plan.name, *((name, source.init) for name, source in sources.items()))
        async with self._turn:
            if key not in self._signals:
                first = {}
                for track in tracks:
                    source = sources[track.name]
                    [brought] = await self._bring([_first(stretch, track)], source, track.kind)
                    first[track.name] = (source.init, brought.data)
                self._signals[key] = await plan.lock.signals(first)
            return self._signals[key]

    async def _place_text(
        self, track: Track, pieces: Sequence[Piece], plans: Sequence[SetPlan]
    ) -> Mapping[str, PlacedTrack]:
        """WebVTT has no clock: its segments go by their names in the archive."""
        found = {}
        for whole in {plan.whole for plan in plans}:
            segments = [await self._put_text(track, piece, whole=whole) for piece in pieces]
            found[whole] = PlacedTrack(track, "", _TEXT_TIMESCALE, segments)
        return {plan.name: found[plan.whole] for plan in plans}

    async def _put_text(self, track: Track, piece: Piece, *, whole: bool) -> Placed:
        """`whole`: it is for a set of MPEG-TS."""
        lasting = round(piece.seconds * _TEXT_TIMESCALE)
        if piece.media is None:
            return Placed("", piece.at, 0, lasting)
        text = (await self._bytes(piece.media)).decode("utf-8", errors="replace")
        data = cues.tied(text, TRANSPORT_OFFSET_S if whole else 0.0).encode()
        origin = self._name(piece.media)
        name = f"{track_folder(track, origin.rpartition('/')[0], b'')}/{short_digest(origin.encode(), data)}.vtt"
        path = f"{base_of(self._capture_id)}/{AES if whole else CLEAR}/{name}"
        if not await self._shelf.has(path, len(data)):
            plain = f"text_{next(self._numbers)}.vtt"
            await in_thread((self._context.scratch / plain).write_bytes, data)
            await self._put(plain, path)
        return Placed(path, piece.at, 0, lasting, len(data))

    async def _bring(self, pieces: Sequence[Piece], source: Source, kind: TrackKind) -> list[_Brought]:
        """Segments of a track, as CMAF."""
        resources = [piece.media for piece in pieces if piece.media]
        found = await together([self._bytes(each) for each in resources], _AT_ONCE)
        names = [self._name(each) for each in resources]
        if source.head is not None and found:
            taken = await split(self._context, kind, [source.head + data for data in found], names[0])
            found = [aligned(source, *each, name) for each, name in zip(taken, names, strict=True)]
        brought = []
        for piece, data, name in zip(pieces, found, names, strict=True):
            try:
                brought.append(_Brought(piece, data, await in_thread(boxes.read_times, data, source.facts)))
            except BoxFault as error:
                raise InputFault(f"{name}: it is no segment of its track: {error}") from error
        return brought

    async def _bytes(self, resource: Resource) -> bytes:
        path = self._context.scratch / f"brought_{next(self._numbers)}"
        await self._reader.bring(resource, path)
        data = await in_thread(path.read_bytes)
        await in_thread(path.unlink)
        return data

    def _name(self, resource: Resource) -> str:
        """Where it lies in the storage, for messages and as what it is known by."""
        part = "" if resource.length is None else f"#{resource.offset}+{resource.length}"
        return f"{self._reader.path_of(resource.url)}{part}"


def _locked(track: Track, plans: Sequence[SetPlan]) -> Sequence[SetPlan]:
    return [plan for plan in plans if plan.lock is not None and track.kind is not TrackKind.TEXT]


def _first(stretch: Stretch, track: Track) -> Piece:
    return next(piece for piece in stretch.pieces[track.name] if piece.media)
