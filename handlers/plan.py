"""`plan`: what is encoded of the sources that `ingest` found, by which profile, in which parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.domain.errors import ResourceFault
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    NUMBER,
    STRING,
    in_thread,
    load,
    run,
    save,
    schema,
    tell,
    tell_all,
)
from taskengine.media import chunks
from taskengine.media.chunks import Plan
from taskengine.media.deciding import MULTIPASS, Wishes, decide
from taskengine.media.encoding import Encoding
from taskengine.media.profile_book import Profiles
from taskengine.media.profiles import Profile
from taskengine.media.sources import Source, Sources
from taskengine.media.thumbnails import seconds_of
from taskengine.media.tools import parse_names
from taskengine.ports import TaskContext

_INDICES: Mapping[str, Any] = {"type": "array", "items": {"type": "integer"}}


class PlanEncoding:
    """Decides all of it before anything is encoded: every task of the job works by the one plan."""

    name = "plan"
    inputs: Mapping[str, Any] = schema(
        {"sources": FILE, "profile": STRING},
        {
            "all_audio_tracks": BOOLEAN, "extract_audio": BOOLEAN, "create_thumbnail": BOOLEAN, "thumbnail_time": ANY,
            "preview_thumbnails": BOOLEAN, "preview_thumbnails_interval": NUMBER, "mode": STRING,
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({
        "plan": FILE, "chunked": BOOLEAN, "chunks": _INDICES, "audio": _INDICES, "normalise": BOOLEAN,
        "per_title": BOOLEAN, "measure_quality": BOOLEAN,
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `plan` (a document); `chunks` and `audio`: the tasks of a long source, none where it is short."""
        sources = (await load(context, context.inputs["sources"], "sources.json", Sources)).sources
        profiles = await in_thread(Profiles, context.profile_folders)
        profile = profiles.get(str(context.inputs["profile"]), context.task.client)
        wishes = _wishes(context.inputs)
        encoding = decide(sources, profile, wishes)
        tell_all(context, encoding.notes)
        plan = _plan(sources, encoding, profile)
        _tell(context, plan, profile, wishes)
        await judge_ffmpeg(context, plan)
        chunked = bool(plan.chunks)
        return {
            "plan": await save(context, "plan.json", plan, Plan),
            "chunked": chunked,
            "chunks": [chunk.index for chunk in plan.chunks],
            "audio": list(range(len(encoding.audio_inputs))) if chunked else [],
            "normalise": plan.normalise,
            "per_title": plan.per_title is not None,
            "measure_quality": plan.measure_quality,
        }


async def judge_ffmpeg(context: TaskContext, plan: Plan) -> None:
    """Raise a ResourceFault where this worker's ffmpeg lacks what is asked for, before anything is encoded."""
    for kind, names in plan.needs.items():
        if names:
            listing = await run(context, [context.tools.ffmpeg, "-hide_banner", f"-{kind}"], f"asking for {kind}")
            lacking = sorted(set(names) - parse_names(listing.stdout.decode(errors="replace")))
            if lacking:
                raise ResourceFault(f"encoding_profile: ffmpeg lacks the {kind} {', '.join(lacking)}")


def _plan(sources: Sequence[Source], encoding: Encoding, profile: Profile) -> Plan:
    video = encoding.video
    parts = chunks.cut(encoding, profile.chunks)
    sdr = [rendition for rendition in video.encoded if not rendition.hdr] if video else []
    return Plan(
        encoding=encoding,
        chunks=parts,
        normalise=bool(parts and video and chunks.needs_normalising(sources[video.input], video)),
        per_title=profile.per_title if sdr and not encoding.two_passes else None,
        measure_quality=profile.measure_quality and video is not None,
    )


def _tell(context: TaskContext, plan: Plan, profile: Profile, wishes: Wishes) -> None:
    video = plan.encoding.video
    if plan.chunks:
        tell(context, f"it is long: encoded in {len(plan.chunks)} chunks")
    elif wishes.mode == MULTIPASS and profile.chunks and video and video.duration > profile.chunks.above:
        tell(context, "encoding_mode: MULTIPASS divides the bits of the whole: it is encoded in one piece")


def _wishes(inputs: Mapping[str, Any]) -> Wishes:
    poster = inputs.get("create_thumbnail", True)
    previews = inputs.get("preview_thumbnails", False)
    return Wishes(
        all_audio_tracks=bool(inputs.get("all_audio_tracks", True)),
        extract_audio=bool(inputs.get("extract_audio", True)),
        poster_time=seconds_of(inputs.get("thumbnail_time") or 0, "thumbnail_time") if poster else None,
        preview_interval=float(inputs.get("preview_thumbnails_interval", 10)) if previews else None,
        mode=str(inputs.get("mode", "STANDARD")),
    )
