"""`ask_keys`: whether the key provider has the keys of what will be packaged, before it is encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.handlers.protecting import INPUTS, encryptions, sets_of
from taskengine.handlers.support import BOOLEAN, FILE, OPTIONAL_FILE, load, schema
from taskengine.media import copying
from taskengine.media.chunks import Plan
from taskengine.media.sources import Sources
from taskengine.media.tracks import Media, Track
from taskengine.ports import TaskContext


class AskKeys:
    """Asks for the same keys as `package` will, by the tracks that are planned; it keeps none of them."""

    name = "ask_keys"
    inputs: Mapping[str, Any] = schema(
        {"sources": FILE}, {"plan": OPTIONAL_FILE, "all_audio_tracks": BOOLEAN, **INPUTS}
    )
    outputs: Mapping[str, Any] = schema({})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """No outputs. InputFault where the provider has not all keys, or the protections do not fit the tracks."""
        await encryptions(context, Media(await _planned(context), 0.0), sets_of(context.inputs))
        return {}


async def _planned(context: TaskContext) -> Sequence[Track]:
    """The tracks to be, without their files."""
    if context.inputs.get("plan"):
        return (await load(context, context.inputs["plan"], "plan.json", Plan)).encoding.tracks()
    sources = (await load(context, context.inputs["sources"], "sources.json", Sources)).sources
    chosen = copying.decide(sources, all_audio_tracks=bool(context.inputs.get("all_audio_tracks", True)))
    return [copy.track for copy in chosen.copies]
