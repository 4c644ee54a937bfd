"""Handlers: one module per kind of task. Imported as `taskengine.handlers`, never as `handlers`."""

if __name__ != "taskengine.handlers":
    raise ImportError("import it as taskengine.handlers: a second copy of every class would follow")

from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType

from taskengine.handlers.ask_keys import AskKeys
from taskengine.handlers.assemble import Assemble
from taskengine.handlers.assemble_channel import AssembleChannel
from taskengine.handlers.assemble_remix import AssembleRemix
from taskengine.handlers.captions import ReadCaptions
from taskengine.handlers.capture import Capture
from taskengine.handlers.capture_frame import CaptureFrame
from taskengine.handlers.compose_live import ComposeLive
from taskengine.handlers.debug import debug_handlers
from taskengine.handlers.delete import Delete, DeleteFiles, DeleteFolder
from taskengine.handlers.delete_sources import DeleteSources
from taskengine.handlers.discard import Discard
from taskengine.handlers.encode_audio import EncodeAudio
from taskengine.handlers.encode_chunk import EncodeChunk
from taskengine.handlers.ingest import Ingest
from taskengine.handlers.inspect_protection import InspectProtection
from taskengine.handlers.join import Join
from taskengine.handlers.judge_protection import JudgeProtection
from taskengine.handlers.load_asset import LoadAsset
from taskengine.handlers.make_clip import MakeClip
from taskengine.handlers.measure import MeasureQuality
from taskengine.handlers.mp4 import ProgressiveMp4
from taskengine.handlers.normalise import Normalise
from taskengine.handlers.package import PackageTracks
from taskengine.handlers.per_title import AdaptLadder
from taskengine.handlers.place import Place
from taskengine.handlers.place_images import PlaceImages
from taskengine.handlers.plan import PlanEncoding
from taskengine.handlers.plan_remix import PlanRemix
from taskengine.handlers.probe import Probe
from taskengine.handlers.publish import Publish
from taskengine.handlers.remux import Remux
from taskengine.handlers.select_segments import SelectSegments
from taskengine.handlers.share_segments import ShareSegments
from taskengine.handlers.stream_frame import StreamFrame
from taskengine.handlers.stream_gif import StreamGif
from taskengine.handlers.stream_thumbnails import StreamThumbnails
from taskengine.handlers.switch_channel import SwitchChannel
from taskengine.handlers.switch_protection import SwitchProtection
from taskengine.handlers.thumbnails import Thumbnails
from taskengine.handlers.tracks import Tracks
from taskengine.handlers.transcode import Transcode
from taskengine.handlers.trick_images import TrickImages
from taskengine.ports import Handler

_MEDIA: tuple[Handler, ...] = (
    Ingest(), ReadCaptions(), Tracks(), Transcode(), Remux(), Thumbnails(), PackageTracks(), ProgressiveMp4(), Publish(),
    Discard(), DeleteSources(), DeleteFolder(), DeleteFiles(), LoadAsset(), Place(), TrickImages(), PlanEncoding(),
    AdaptLadder(), Normalise(), EncodeChunk(), EncodeAudio(), Join(), MeasureQuality(), JudgeProtection(),
    AskKeys(), InspectProtection(), SwitchProtection(), StreamThumbnails(), PlaceImages(), StreamFrame(), StreamGif(),
    AssembleChannel(), SwitchChannel(), PlanRemix(), MakeClip(), AssembleRemix(), ComposeLive(),
    Capture(), Assemble(),
    Probe(), CaptureFrame(), Delete(),
    SelectSegments(), ShareSegments(),
)  # fmt: skip

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {handler.name: handler for handler in (*debug_handlers(shell=False), *_MEDIA)}
)


def load_handlers(*, shell: bool = False) -> Mapping[str, Handler]:
    """The built-in handlers (`debug.shell` with `shell` alone) and those that other packages bring.

    Their entry points `taskengine.handlers` name a handler, or a class or function that makes one; its own `name`
    counts. Built-in names stay what they are.
    """
    found: dict[str, Handler] = {}
    for point in entry_points(group="taskengine.handlers"):
        loaded = point.load()
        handler: Handler = loaded() if isinstance(loaded, type) or not hasattr(loaded, "name") else loaded
        found[handler.name] = handler
    shells = {handler.name: handler for handler in debug_handlers(shell=shell)}
    return {**found, **HANDLERS, **shells}
