"""`transcode`: one source into renditions, with poster, previews and audio: one process, one decode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from taskengine.handlers.encoding import encode, fetch_sources, load_plan, stored, verified, with_loudness
from taskengine.handlers.plan import judge_ffmpeg
from taskengine.handlers.source import SOURCE, STORAGE, bring
from taskengine.handlers.support import (
    BOOLEAN,
    FILE,
    NUMBER,
    OPTIONAL_FILE,
    in_thread,
    need_space,
    plain_command,
    save,
    save_images,
    schema,
    tell_all,
)
from taskengine.media import encode_argv
from taskengine.media.chunks import Plan
from taskengine.media.deciding import Wishes, copies, decide
from taskengine.media.encoding import Encoding
from taskengine.media.ladder import of_height
from taskengine.media.profile_book import Profiles
from taskengine.media.profiles import Profile
from taskengine.media.tracks import Media
from taskengine.ports import TaskContext

_HEIGHT: Mapping[str, Any] = {
    "type": "integer",
    "minimum": 16,
    "maximum": 4320,
    "description": "Of the picture in pixels (of portrait: its width); never more than the source has.",
}
_PROFILE: Mapping[str, Any] = {
    "type": "string",
    "description": "The encoding profile whose nearest rung is taken; H264.",
}


class Transcode:
    """By a `plan` and its `sources`, as `plan` and `ingest` give them; or a `source` in one `height`, with its audio."""

    name = "transcode"
    inputs: Mapping[str, Any] = schema(
        {},
        {
            "plan": FILE,
            "sources": {**OPTIONAL_FILE, "x-from": ["needs.sources"], "x-beside": "source"},
            "source": SOURCE,
            "height": _HEIGHT,
            "profile": _PROFILE,
            "audio": {**BOOLEAN, "description": "Whether its audio is encoded too; true where absent."},
            "storage": {**STORAGE, "x-beside": "source"},
        },
        ways=(("plan", "sources"), ("source", "height")),
    )
    outputs: Mapping[str, Any] = schema({"media": FILE, "images": OPTIONAL_FILE, "duration": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of tracks), `images` (a document, or null), `duration`."""
        names: Mapping[str, str] = {}
        if "source" in context.inputs:
            planned, names = await _of_source(context)
        else:
            planned = (await load_plan(context)).encoding
            await fetch_sources(context, planned.inputs)
        await need_space(context, planned.estimated_bytes, "encoding")
        encoding, measuring = await with_loudness(context, planned)
        commands = encode_argv.transcode(context.tools.ffmpeg, encoding)
        versions = await encode(context, encoding, commands)
        tracks = await in_thread(verified, context.scratch, encoding)
        tracks = [replace(track, source=names.get(track.source or "", track.source)) for track in tracks]
        media = Media(
            await stored(context, tracks), encoding.duration, encoding.segment_duration,
            [plain_command(argv) for argv in [*measuring, *commands]], versions,
        )  # fmt: skip
        return {
            "media": await save(context, "media.json", media, Media),
            "images": await save_images(
                context, poster=encoding.poster is not None, previews=encoding.previews, commands=[]
            ),
            "duration": encoding.duration,
        }


async def _of_source(context: TaskContext) -> tuple[Encoding, Mapping[str, str]]:
    """The encoding of one source in one height, and what its owner calls it by its plain name."""
    profile = await in_thread(_profile, context)
    source = await bring(context, copied=lambda source: copies(source, profile))
    audio = bool(context.inputs.get("audio", True)) or source.video is None
    encoding = decide([source], profile, Wishes(extract_audio=audio))
    tell_all(context, encoding.notes)
    await judge_ffmpeg(context, Plan(encoding))
    return encoding, {source.plain: source.name}


def _profile(context: TaskContext) -> Profile:
    """The job's profile with the one height. Reads files: call it in a thread."""
    name = str(context.inputs.get("profile") or "H264")
    profile = Profiles(context.profile_folders).get(name, context.task.client)
    height = int(context.inputs["height"])
    video = tuple(each.model_copy(update={"rungs": (of_height(each.rungs, height),)}) for each in profile.video)
    return profile.model_copy(update={"video": video})
