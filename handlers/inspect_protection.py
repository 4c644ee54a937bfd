"""`inspect_protection`: decide by an asset's `metadata.json` what turning its protection on or off means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.handlers.load_asset import read_asset
from taskengine.handlers.support import ANY, BOOLEAN, STRING, schema, tell
from taskengine.media.protection import CLEAR
from taskengine.media.switching import decide
from taskengine.ports import TaskContext


class InspectProtection:
    """The decision is an output: tries of the steps after it go by it, whatever they find."""

    name = "inspect_protection"
    inputs: Mapping[str, Any] = schema({"folder": STRING, "storage": STRING}, {"output_root": ANY, "drm": ANY})
    outputs: Mapping[str, Any] = schema({
        "content_id": STRING, "missing": {"type": "array"}, "drm": {"type": "array"}, "active": {"type": "object"},
        "protected": BOOLEAN,
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: the asset's `content_id`, the sets to make (`missing`) and all of its protections (`drm`), the sets that
        become `active` for HLS and DASH, and whether these are protected."""
        inputs = context.inputs
        storage = context.storage(str(inputs["storage"]), str(inputs.get("output_root") or "output_root"))
        published = await read_asset(storage, str(inputs["folder"]), "folder")
        switch = decide(published, [str(each) for each in inputs.get("drm") or []])
        made = f"; made for it: {', '.join(switch.missing)}" if switch.missing else ""
        tell(context, f"active was {published.active.protection}, becomes {switch.active.protection}{made}")
        return {
            "content_id": published.content_id,
            "missing": list(switch.missing),
            "drm": list(switch.drm),
            "active": {"hls": switch.active.hls, "dash": switch.active.dash},
            "protected": switch.active.protection != CLEAR,
        }
