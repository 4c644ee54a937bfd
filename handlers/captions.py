"""`captions`: caption files, subtitle tracks and captions within the picture, each into a text track of WebVTT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.support import (
    FILE,
    in_thread,
    load,
    plain_command,
    run_ffmpeg,
    save,
    schema,
    tell,
    together,
    warn,
)
from taskengine.media import ffmpeg
from taskengine.media.captions.cues import CaptionFault, Captions, fitted, in_order, without_hours
from taskengine.media.languages import UNDETERMINED, tag_of
from taskengine.media.names import extension
from taskengine.media.roles import CAPTION, SUBTITLE
from taskengine.media.sources import CaptionSource, Source, Sources, audio_choices, by_quality, longest
from taskengine.media.tracks import Command, Media, Track, TrackKind, plain_name
from taskengine.ports import TaskContext

_READABLE = {"mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text", "eia_608"}
_PICTURES = {"dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle", "xsub"}


@dataclass(frozen=True, slots=True)
class _Found:
    """A text, where it comes from, and what is known of it."""

    captions: Captions
    source: str  # its plain name
    language: str
    role: str


class ReadCaptions:
    """A caption file that is broken is the client's fault, named with its line; a broken track within a video is left
    out and told."""

    name = "captions"
    inputs: Mapping[str, Any] = schema({"sources": FILE})
    outputs: Mapping[str, Any] = schema({"texts": FILE, "count": {"type": "integer"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `texts` (a document of text tracks, on the clocks of their files), how many there are."""
        sources = await load(context, context.inputs["sources"], "sources.json", Sources)
        length = round(longest(sources.sources) * 1000)
        found = list(await together([_file(context, file, length) for file in sources.captions], limit=4))
        commands: list[Command] = []
        for source in by_quality(sources.sources):
            known = {(text.language, text.role) for text in found}
            for text in await _embedded(context, source, commands):
                if (text.language, text.role) in known:
                    tell(
                        context,
                        f"{source.name}: its {text.role} of language {text.language} is there already: left out",
                    )
                else:
                    found.append(text)
        tracks = [await _stored(context, number, text) for number, text in enumerate(found, start=1)]
        media = Media(tracks, 0.0, commands=commands)
        return {"texts": await save(context, "texts.json", media, Media), "count": len(tracks)}


async def _file(context: TaskContext, file: CaptionSource, length: int) -> _Found:
    from taskengine.media.captions import reading  # its parsers are not needed before

    path = await context.workspace.fetch(file.file, file.plain)
    kind = extension(file.name)
    try:
        read = await in_thread(lambda: reading.read(path.read_bytes(), kind, file.language))
    except CaptionFault as fault:
        raise InputFault(f"{file.name}: {fault}") from fault
    captions = without_hours(read, length)
    for note in captions.notes:
        tell(context, f"{file.name}: {note}")
    language = file.language or (tag_of(captions.language) if captions.language else None)
    role = file.role or (CAPTION if kind == "scc" else SUBTITLE)
    return _Found(captions, file.plain, language or UNDETERMINED, role)


async def _embedded(context: TaskContext, source: Source, commands: list[Command]) -> Sequence[_Found]:
    """What is within a video: its subtitle tracks, and the captions in its picture."""
    readable = [text for text in source.probe.texts if text.codec in _READABLE]
    for text in source.probe.texts:
        if text.codec not in _READABLE:
            why = "they are pictures" if text.codec in _PICTURES else "they cannot be read"
            warn(context, f"{source.name}: its subtitles ({text.codec}) are left out: {why}")
    captioned = bool(source.video and source.video.captioned)
    if readable or captioned:
        await context.workspace.fetch(source.file, source.plain)
    return [
        *(await _tracks(context, source, commands) if readable else []),
        *(await _in_picture(context, source, commands) if captioned else []),
    ]


async def _tracks(context: TaskContext, source: Source, commands: list[Command]) -> Sequence[_Found]:
    from taskengine.media.captions import reading  # its parsers are not needed before

    texts = [text for text in source.probe.texts if text.codec in _READABLE]
    forms = {text.index: "vtt" if text.codec == "webvtt" else "srt" for text in texts}
    outputs = [(text.index, text.codec, f"track_{text.index}.{forms[text.index]}") for text in texts]
    argv = ffmpeg.texts(context.tools.ffmpeg, source.plain, outputs)
    await run_ffmpeg(context, argv, "reading subtitles", of_input=True)
    commands.append(plain_command(argv))
    found = []
    for text, (_, _, name) in zip(texts, outputs, strict=True):
        data = await in_thread((context.scratch / name).read_bytes)
        try:
            captions = await in_thread(reading.read, data, forms[text.index])
        except CaptionFault as fault:
            warn(context, f"{source.name}: its subtitles in stream {text.index} are left out: {fault}")
            continue
        role = text.role or (CAPTION if text.codec == "eia_608" else SUBTITLE)
        found.append(_Found(_from_first(captions, source), source.plain, text.language or UNDETERMINED, role))
    return found


async def _in_picture(context: TaskContext, source: Source, commands: list[Command]) -> Sequence[_Found]:
    """Every channel; the first one is taken to be in the language that is spoken."""
    from taskengine.media.captions import embedded

    argv = ffmpeg.captions(context.tools.ffmpeg, source.plain)
    await run_ffmpeg(context, argv, "reading captions", of_input=True)
    commands.append(plain_command(argv))
    data = await in_thread((context.scratch / ffmpeg.TRIPLETS).read_bytes)
    times = await in_thread((context.scratch / ffmpeg.TRIPLET_TIMES).read_text)
    channels = await in_thread(embedded.read, data, times)
    if not channels:
        tell(context, f"{source.name}: there is room for captions in its picture, and no text in it")
    spoken = next((choice.language for choice in audio_choices([source], all_tracks=True)), UNDETERMINED)
    return [
        _Found(
            _from_first(Captions(in_order(cues)), source), source.plain,
            spoken if channel in {"CC1", "S1"} else UNDETERMINED, CAPTION,
        )
        for channel, cues in channels.items()
    ]  # fmt: skip


def _from_first(captions: Captions, source: Source) -> Captions:
    """On the clock that begins with the first frame."""
    timing = source.video.timing if source.video else None
    return fitted(captions, 0, -round(timing.first * 1000) if timing else 0)


async def _stored(context: TaskContext, number: int, text: _Found) -> Track:
    from taskengine.media.captions import vtt

    end = max((cue.end for cue in text.captions.cues), default=0) / 1000
    track = Track(
        f"text_{number}", TrackKind.TEXT, "webvtt", end, language=text.language, role=text.role, source=text.source
    )
    path = context.scratch / plain_name(track)
    await in_thread(path.write_bytes, vtt.write(text.captions).encode())
    return Track(
        track.name, track.kind, track.codec, end, await context.workspace.store(path, path.name),
        language=track.language, role=track.role, source=track.source,
    )  # fmt: skip
