"""Renditions that several tasks encoded, packaged by the step that publishes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.package import fetch_tracks, make_package
from taskengine.handlers.packaging import Contents
from taskengine.handlers.support import ANY, BOOLEAN, load, together
from taskengine.media import renditions
from taskengine.media.tracks import Media, Package
from taskengine.ports import TaskContext

NAME = "renditions"


def _of_the_job(described: Mapping[str, Any], *places: str) -> Mapping[str, Any]:
    return {**described, "x-from": list(places), "x-beside": NAME}


INPUTS: Mapping[str, Any] = {
    NAME: {"type": "array", "description": "What `transcode` gave for each of them, instead of a package."},
    "drm": _of_the_job(ANY, "parameters.drm"),
    "encrypt_ismv": _of_the_job(BOOLEAN, "parameters.encrypt_ismv"),
    "playready_key": _of_the_job(ANY, "parameters.playready_key"),
    "cpix": _of_the_job(BOOLEAN, "parameters.cpix"),
    "download_cpix": _of_the_job(BOOLEAN, "parameters.download_cpix"),
    "key_provider": _of_the_job(ANY, "client.key_provider"),
}
"""What a step that publishes renditions may be given beside them."""


async def package_renditions(context: TaskContext) -> Package:
    """The step's `renditions` as one package, in each protection that is asked for. InputFault where they are none."""
    given: Sequence[Any] = context.inputs[NAME]
    wrong = [index for index, each in enumerate(given) if not isinstance(each, Mapping) or not each.get("media")]
    if wrong:
        raise InputFault(f"{NAME}[{wrong[0]}]: it has no media, as transcode gives it")
    parts = await together(
        [load(context, each["media"], f"rendition_{index}.json", Media) for index, each in enumerate(given)]
    )
    media = renditions.together(parts)
    files = await fetch_tracks(context, media)
    return await make_package(context, Contents(media, files, trick_play=False, tiles=None))
