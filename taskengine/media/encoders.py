"""The encoders that profiles may name, and how each is told the same things. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from taskengine.media.light import Light

TEN_BITS = "yuv420p10le"
_ENDLESS = 100_000  # frames: key frames come where they are asked for, and nowhere else
_LATER_VBV = "vbv-init=0.4"  # a chunk that is not the first begins with a buffer as full as it is on the way


@dataclass(frozen=True, slots=True)
class VideoEncoder:
    """A video encoder of ffmpeg. `ranks`: its profiles by what a player must be able to do, the least first."""

    codec: str
    max_crf: int
    ranks: Mapping[str, int]
    pixel_formats: Sequence[str]
    hdr: bool = False  # whether players take HDR in it
    two_passes: bool = True

    def profile_for(self, pixel_format: str) -> str:
        """The profile where a rung names none."""
        if pixel_format == TEN_BITS and "main10" in self.ranks:
            return "main10"
        return "high" if "high" in self.ranks else "main"


VIDEO: Mapping[str, VideoEncoder] = MappingProxyType({
    "libx264": VideoEncoder("h264", 51, {"baseline": 0, "main": 1, "high": 2}, ["yuv420p"]),
    "libx265": VideoEncoder("hevc", 51, {"main": 0, "main10": 1}, ["yuv420p", TEN_BITS], hdr=True),
    "libsvtav1": VideoEncoder("av1", 63, {"main": 0}, ["yuv420p", TEN_BITS], hdr=True, two_passes=False),
})  # fmt: skip

AUDIO: Mapping[str, str] = MappingProxyType({"aac": "aac", "ac3": "ac3", "eac3": "eac3"})  # encoder → codec


@dataclass(frozen=True, slots=True)
class Rate:
    """How many bits: a quality with a cap, or in two passes an average with it. Bit/s."""

    crf: int
    maximum: int
    average: int


def arguments(
    encoder: str, preset: str, profile: str, rate: Rate, keys: str, *, attempt: Attempt, light: Light | None = None
) -> list[str]:
    """The options of one video output but its map and its file. `keys`: the expression that says where key frames are;
    `light`: of HDR that is kept (ffmpeg hands it on to the first of several outputs alone)."""
    return [
        "-c:v", encoder, "-preset", preset, *([] if encoder == "libsvtav1" else ["-profile:v", profile]),
        *_rate(rate, attempt), "-force_key_frames", keys, *_private(encoder, light or Light(), later=attempt.later),
        *(["-pass", str(attempt.number), "-passlogfile", attempt.log] if attempt.number else []),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which run of the encoder it is: `number` 1 or 2 of two passes, with their common `log`; 0: the only one. `later`:
    of a chunk that is not the first."""

    number: int = 0
    log: str = ""
    later: bool = False


def _rate(rate: Rate, attempt: Attempt) -> list[str]:
    cap = ["-maxrate", str(rate.maximum), "-bufsize", str(2 * rate.maximum)]
    if not attempt.number:
        return ["-crf", str(rate.crf), *cap]
    return ["-b:v", str(rate.average), *cap]


def _private(encoder: str, light: Light, *, later: bool) -> list[str]:
    vbv = f":{_LATER_VBV}" if later else ""
    if encoder == "libx264":
        return ["-x264-params", f"scenecut=0:open-gop=0:keyint=infinite{vbv}"]
    if encoder == "libx265":  # `info` would tell the buffer of a chunk in its parameter sets, which must be the same
        params = f"log-level=warning:info=0:scenecut=0:open-gop=0:keyint={_ENDLESS}:min-keyint=1{vbv}{light.of_x265()}"
        return ["-forced-idr", "1", "-x265-params", params, "-tag:v", "hvc1"]
    return ["-g", str(_ENDLESS), "-svtav1-params", f"scd=0{light.of_svtav1()}"]
