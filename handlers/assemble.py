"""`assemble`: captured clips after one another, as sources of an asset: a file for each rendition, track and text."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InputFault, InternalFault
from taskengine.handlers.probing import looked_into
from taskengine.handlers.support import (
    BOOLEAN,
    FILE,
    NUMBER,
    beside,
    in_thread,
    keep_version,
    load,
    plain_command,
    run_ffmpeg,
    save,
    schema,
    tell,
    tell_all,
    together,
)
from taskengine.media import mp4
from taskengine.media.captions.cues import Captions, Cue, fitted, in_order
from taskengine.media.roles import SUBTITLE
from taskengine.media.sources import CaptionSource, Source, Sources, has_texts
from taskengine.media.streams import assembling, cut_argv, parameter_sets
from taskengine.media.streams.assembling import Rung, Voice
from taskengine.media.streams.captured import Captured, CapturedVideo, Part
from taskengine.media.tracks import Command
from taskengine.ports import TaskContext

_MOST_PARTS = 400
_AT_ONCE = 2


class Assemble:
    """Clips of one ladder are joined as they are; what is different is encoded like the first clip. Sound is encoded once,
    over the whole; where a clip has none there is silence."""

    name = "assemble"
    inputs: Mapping[str, Any] = schema(
        {"clips": {"type": "array", "items": {"type": "object"}, "minItems": 1}}, {"copy_ts": BOOLEAN}
    )
    outputs: Mapping[str, Any] = schema({
        "sources": FILE, "has_video": BOOLEAN, "has_audio": BOOLEAN, "has_text": BOOLEAN, "count": {"type": "integer"},
        "duration": NUMBER,
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `sources` (a document, as `ingest` makes it), whether there is video, audio and text, `duration`."""
        references = [each["captured"] for each in context.inputs["clips"]]
        clips = [
            await load(context, reference, f"captured_{number}.json", Captured)
            for number, reference in enumerate(references)
        ]
        if sum(len(clip.stretches) for clip in clips) > _MOST_PARTS:
            raise InputFault(f"clips: they break off more than {_MOST_PARTS} times")
        rungs, voices = assembling.rungs(clips), assembling.voices(clips)
        assembler = _Assembler(context)
        versions: dict[str, str] = {}
        async with beside(keep_version(context, "ffprobe", context.tools.ffprobe, versions)):
            videos = [await assembler.video(number, rung) for number, rung in enumerate(rungs, start=1)]
            sounds = await together(
                [assembler.sound(number, voice) for number, voice in enumerate(voices, start=1)], _AT_ONCE
            )
            texts = await _texts(context, clips)
        commands = [command for clip in clips for command in clip.commands]
        found = Sources(
            [*videos, *sounds], commands=[*commands, *assembler.commands], captions=texts,
            versions={**clips[0].versions, **versions}, clock=_clock(clips) if context.inputs.get("copy_ts") else (),
        )  # fmt: skip
        if context.inputs.get("copy_ts") and not found.clock:
            tell(context, "copy_ts: the streams do not tell their time of day: the manifests have none")
        return {
            "sources": await save(context, "sources.json", found, Sources), "has_video": bool(videos),
            "has_audio": bool(sounds), "has_text": bool(texts) or any(has_texts(source) for source in videos),
            "count": len(found.sources), "duration": float(sum(clip.seconds for clip in clips)),
        }  # fmt: skip


def _clock(clips: Sequence[Captured]) -> Sequence[tuple[float, int]]:
    """(seconds of the asset, UTC ms) of every beginning whose time of day is told."""
    found, at = [], Fraction(0)
    for clip in clips:
        for stretch in clip.stretches:
            if stretch.at is not None:
                found.append((float(at), stretch.at))
            at += stretch.seconds
    return found


class _Assembler:
    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._numbers = 0
        self.commands: list[Command] = []

    async def _run(self, argv: Sequence[str], what: str) -> None:
        await run_ffmpeg(self._context, argv, what)
        self.commands.append(plain_command(argv))

    def _name(self, kind: str, extension: str = "mp4") -> str:
        self._numbers += 1
        return f"{kind}_{self._numbers}.{extension}"

    async def video(self, number: int, rung: Rung) -> Source:
        """One rendition of all clips."""
        parts: list[tuple[str, Part]] = []
        for clip, (video, alike) in enumerate(zip(rung.clips, rung.alike, strict=True)):
            fetched = await self._fetched(video)
            if alike and (await self._fits([*parts, *fetched], rung.target)):
                parts += fetched
                continue
            tell(
                self._context,
                f"clips[{clip}]: its picture is not like the first clip's: it is encoded as {rung.target.width}x{rung.target.height}",
            )
            parts += [await self._alike(each, rung) for each in fetched]
        parts = await self._aligned(parts, rung.target)
        await self._share(parts, rung.target)
        plain = f"video_{number}.mp4"
        list_name = self._name("list", "txt")
        path = self._context.scratch / list_name
        await in_thread(path.write_text, cut_argv.join_list([(name, part.seconds) for name, part in parts]))
        tag = "hvc1" if rung.target.codec == "hevc" else None
        argv = cut_argv.joined(self._context.tools.ffmpeg, list_name, rung.target.timescale, plain, tag=tag)
        await self._run(argv, "joining clips")
        frames = sum(part.frames for _, part in parts)
        found = (await in_thread(mp4.read_movie, self._context.scratch / plain)).tracks[0].samples
        if found != frames:
            raise InternalFault(f"{plain}: expected {frames} frames, found {found}")
        return await looked_into(self._context, plain, plain, copied=lambda _: True)

    async def _fetched(self, video: CapturedVideo) -> list[tuple[str, Part]]:
        named = [(self._name("part"), part) for part in video.parts]
        await together([self._own(name, part) for name, part in named])
        return named

    async def _own(self, name: str, part: Part) -> None:
        """A file of the scratch that may be changed: what is fetched may be linked."""
        fetched = await self._context.workspace.fetch(part.file, f"fetched_{name}")
        await in_thread(_copy, fetched, self._context.scratch / name)

    async def _fits(self, parts: Sequence[tuple[str, Part]], target: CapturedVideo) -> bool:
        """Whether one description holds for all of them."""
        if target.codec != "h264":
            described = [await in_thread(mp4.sample_description, self._context.scratch / name) for name, _ in parts]
            return len(set(described)) == 1
        sets = [await in_thread(parameter_sets.read, self._context.scratch / name) for name, _ in parts]
        return parameter_sets.joined(sets) is not None

    async def _alike(self, named: tuple[str, Part], rung: Rung) -> tuple[str, Part]:
        """A part encoded like the first clip's."""
        name, part = named
        target, output = rung.target, self._name("part")
        sets = 1
        if target.codec == "h264":
            first = rung.clips[0].parts
            used: set[int] = set()
            for each in first:
                fetched = await self._context.workspace.fetch(each.file, self._name("looked"))
                used |= (await in_thread(parameter_sets.read, fetched)).ids
            sets = next((number for number in range(30, 0, -1) if number not in used), 1)
        frames = max(1, round(part.seconds * target.rate))
        look = cut_argv.Look(
            target.codec if target.codec in {"h264", "hevc"} else "h264", target.width, target.height,
            target.pixel_format, target.rate, sets, target.bitrate or None, resized=True,
        )  # fmt: skip
        argv = cut_argv.encoded(
            self._context.tools.ffmpeg, name, Fraction(0), frames, target.timescale, target.parts[0].delay, look, output
        )
        await self._run(argv, "encoding a clip like the first")
        found = (await in_thread(mp4.read_movie, self._context.scratch / output)).tracks[0].samples
        return output, Part({}, Fraction(found) / target.rate, found, target.parts[0].delay)

    async def _aligned(self, parts: Sequence[tuple[str, Part]], target: CapturedVideo) -> list[tuple[str, Part]]:
        """All with the same delay between decoding and showing."""
        most = max(part.delay for _, part in parts)
        found = []
        for name, part in parts:
            if part.delay == most:
                found.append((name, part))
                continue
            output = self._name("part")
            argv = cut_argv.later(self._context.tools.ffmpeg, name, most - part.delay, target.timescale, output)
            await self._run(argv, "aligning clips")
            found.append((output, replace(part, delay=most)))
        return found

    async def _share(self, parts: Sequence[tuple[str, Part]], target: CapturedVideo) -> None:
        """Give all parts the one description that holds for them."""
        if target.codec != "h264" or len(parts) == 1:
            return
        paths = [self._context.scratch / name for name, _ in parts]
        sets = [await in_thread(parameter_sets.read, path) for path in paths]
        shared = parameter_sets.joined(sets)
        if shared is None:
            raise InternalFault("parts that were to be joined have different parameter sets under one id")
        for path in paths:
            await in_thread(parameter_sets.write, path, shared)

    async def sound(self, number: int, voice: Voice) -> Source:
        """One track of sound over all clips."""
        parts: list[tuple[str | None, int]] = []
        for file, seconds in voice.parts:
            name = None
            if file is not None:
                name = self._name("sound", "flac")
                await self._context.workspace.fetch(file, name)
            parts.append((name, round(seconds * voice.sample_rate)))
        plain = f"audio_{number}.m4a"
        argv = cut_argv.sounds(
            self._context.tools.ffmpeg, parts, voice.sample_rate, voice.channels, voice.codec, voice.bitrate, plain
        )
        await self._run(argv, "encoding the sound")
        language = None if voice.language == "und" else voice.language
        return await looked_into(
            self._context, plain, plain, copied=lambda _: False, language=language, role=voice.role
        )  # fmt: skip


async def _texts(context: TaskContext, clips: Sequence[Captured]) -> Sequence[CaptionSource]:
    """The texts of all clips, each at its place: one file for each language and role."""
    from taskengine.media.captions import vtt  # it is not needed before

    found: dict[tuple[str, str], list[Cue]] = {}
    at = Fraction(0)
    for number, clip in enumerate(clips):
        for place, text in enumerate(clip.texts):
            path = await context.workspace.fetch(text.file, f"clip_{number}_{place}.vtt")
            captions = vtt.read(await in_thread(path.read_text))
            cues = found.setdefault((text.language, text.role or SUBTITLE), [])
            cues += fitted(captions, 0, round(at * 1000)).cues
        at += clip.seconds
    sources = []
    for number, ((language, role), cues) in enumerate(found.items(), start=1):
        captions = Captions(in_order(cues))
        tell_all(context, captions.notes)
        name = f"captions_{number}.vtt"
        data = vtt.write(captions).encode()
        await in_thread((context.scratch / name).write_bytes, data)
        reference = await context.workspace.store(context.scratch / name, name)
        sources.append(CaptionSource(name, name, len(data), reference, language, role))
    return sources


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    source.unlink()
