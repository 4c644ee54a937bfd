"""Reading the clips of virtual assets and channels: streams completely, as they are told of by their place in the job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from taskengine.domain.errors import InputFault
from taskengine.handlers.stream_readers import UrlReader
from taskengine.handlers.streams import open_presentation, with_segments
from taskengine.handlers.support import in_thread
from taskengine.media.names import SourceKind, source_kind
from taskengine.media.streams.model import Presentation, Resource, StreamFault
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


@contextmanager
def told_of(what: str) -> Iterator[None]:
    """Tell faults of the input by the parameter that they are of."""
    try:
        yield
    except StreamFault as fault:
        raise InputFault(f"{what}: {fault}") from fault
    except InputFault as fault:
        if str(fault).startswith(what):
            raise
        raise InputFault(f"{what}: {fault}", exit_code=fault.exit_code, stderr_tail=fault.stderr_tail) from fault


async def read_stream(reader: KeptReader, url: str, what: str) -> tuple[Presentation, Sequence[Offered]]:
    """A VOD stream with all its renditions, and what it offers. InputFault where it cannot be played from where it lies."""
    with told_of(what):
        found = await open_presentation(reader, url, what)
        read = await with_segments(reader, found, found.renditions, what)
        return read, await in_thread(clips.offered, read)


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
