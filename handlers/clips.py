"""Reading the clips of virtual assets and channels: streams completely, as they are told of by their place in the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from taskengine.domain.errors import InputFault
from taskengine.handlers.stream_readers import UrlReader
from taskengine.handlers.streams import open_referable, with_segments
from taskengine.handlers.support import in_thread, told_of
from taskengine.media.archive import boxes
from taskengine.media.archive.tracks import codecs_of_init
from taskengine.media.mp4 import BoxFault
from taskengine.media.names import SourceKind, source_kind
from taskengine.media.streams.model import Presentation, Resource
from taskengine.media.tracks import TrackKind
from taskengine.media.virtual import clips
from taskengine.media.virtual.clips import Offered
from taskengine.ports import TaskContext

Documents = dict[str, tuple[str, str]]
"""What was read of a stream: by the location that was asked for, the location that answered and the text."""


class KeptReader(UrlReader):
    """Keeps what it reads; documents that were read before are not asked for again."""

    def __init__(self, context: TaskContext, known: Mapping[str, tuple[str, str]] | None = None) -> None:
        super().__init__(context)
        self._known = known or {}
        self.documents: Documents = {}

    async def document(self, location: str, *, most: int = 16 * 1024 * 1024) -> tuple[str, bytes]:
        """See `Reader.document`."""
        if location in self._known:
            at, text = self._known[location]
        else:
            at, body = await super().document(location, most=most)
            text = body.decode("utf-8", errors="replace")
        self.documents[location] = at, text
        return at, text.encode()


async def read_stream(reader: KeptReader, url: str, what: str) -> tuple[Presentation, Sequence[Offered]]:
    """A VOD stream with all its renditions, and what it offers. InputFault where it cannot be played from where it lies."""
    with told_of(what):
        found = await open_referable(reader, url, what)
        read = await with_segments(reader, found, found.renditions, what)
        if any(each.within for each in read.renditions):
            read = await _described(reader, read)
        return read, await in_thread(clips.offered, read)


async def read_streams(reader: KeptReader, urls: Sequence[str], what: str) -> tuple[Presentation, Sequence[Offered]]:
    """As `read_stream`; of several, which are the renditions and tracks of one clip, all together."""
    read = [await read_stream(reader, url, what) for url in urls]
    if len(read) == 1:
        return read[0]
    joined = _joined([presentation for presentation, _ in read])
    with told_of(what):
        return joined, await in_thread(clips.offered, joined)


def _joined(presentations: Sequence[Presentation]) -> Presentation:
    """The renditions of all, sounds and texts that are alike once."""
    renditions = [each for presentation in presentations for each in presentation.renditions if each.within is None]
    documents = {at: text for presentation in presentations for at, text in presentation.documents.items()}
    unique = {(each.kind, each.location or each.segments[0].media.url): each for each in reversed(renditions)}
    found = [replace(each, id=f"{each.kind.value}_{n}") for n, each in enumerate(reversed(unique.values()), start=1)]
    return replace(presentations[0], renditions=found, documents=documents)


async def _described(reader: UrlReader, presentation: Presentation) -> Presentation:
    """A playlist without a master does not tell what it has: where that is one track in fMP4, its init segment does."""
    rendition = presentation.renditions[0]
    if len(presentation.documents) != 1 or not rendition.segments or (part := rendition.segments[0].init) is None:
        return presentation
    try:
        init = boxes.read_init(await reader.bytes_of(part))
    except BoxFault:  # several tracks
        return presentation
    kind = TrackKind(init.kind)
    told = replace(
        rendition, id=f"{kind.value}_1", kind=kind, codecs=codecs_of_init(init), width=init.width, height=init.height,
        channels=init.channels or None,
    )  # fmt: skip
    return replace(presentation, renditions=[told])


def is_file(url: str) -> bool:
    """Whether a URL names a media file, by its extension; all others are manifests."""
    return source_kind(urlsplit(url).path.rpartition("/")[2]) in {SourceKind.VIDEO, SourceKind.AUDIO}


async def head_of(reader: UrlReader, resource: Resource, most: int) -> bytes:
    """The first bytes of a segment; all of one that is shorter."""
    if resource.length is not None:
        return await reader.bytes_of(Resource(resource.url, resource.offset, min(most, resource.length)))
    try:
        return await reader.bytes_of(Resource(resource.url, 0, most))
    except InputFault:  # it has not so many
        return await reader.bytes_of(resource)
