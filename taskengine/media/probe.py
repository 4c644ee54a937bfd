"""What is in a source: ffprobe's answers as values, and loud faults where there is nothing to work with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.media.languages import tag_of
from taskengine.media.roles import by_disposition
from taskengine.media.timing import Timing

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,mpegts,mpeg,mpegvideo,matroska,webm,avi,mxf,aac,mp3,wav,w64,flac,ac3,eac3,ogg"  # the demuxers that sources may need: none of them opens other files
MAX_TRACKS = 128  # of one source
MAX_PIXELS = 8192 * 4320  # of one picture
INPUT_LIMITS = ("-protocol_whitelist", "file", "-format_whitelist", FORMATS)
_INTERLACED = {"tt", "bb", "tb", "bt"}
_HDR_COLOR = {"colorspace": "bt2020nc", "color_primaries": "bt2020"}
_NARROW = {"range": "tv"}
_HDR_TRANSFERS = {"smpte2084", "arib-std-b67"}
_STREAMS = {"mpegts", "mpeg"}
_WITH_LENGTHS = ("mp4", "matroska")
_LOOKED_AT = 48  # pictures: encoders of captions fill up where nothing is said
_TRUNCATED = ("moov atom not found", "partial file", "File ended prematurely", "Truncated")


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """A video track of a source. `width` and `height` are stored pixels; see `display_size`."""

    index: int  # of the stream in its file
    codec: str
    width: int
    height: int
    sample_aspect: Fraction
    rotation: int  # degrees, counter-clockwise: 0, 90, 180, 270
    pixel_format: str
    bit_depth: int
    interlaced: bool
    transfer: str | None
    nominal_rate: Fraction | None
    average_rate: Fraction | None
    declared_frames: int | None
    declared_duration: float | None
    bitrate: int | None
    language: str | None
    timing: Timing | None = None
    matrix: str | None = None
    primaries: str | None = None
    captioned: bool = False  # CEA-608 or 708 captions are in its pictures
    profile: str | None = None  # of the codec, as ffprobe calls it: `High`, `Main 10`
    color_range: str | None = None  # `tv` or `pc`
    damaged: bool = False  # its packets do not divide into the units that decoders take

    @property
    def hdr(self) -> bool:
        """Whether its brightness is coded for HDR displays."""
        return self.transfer in _HDR_TRANSFERS

    @property
    def assumed_color(self) -> Mapping[str, str]:
        """HDR is BT.2020 wherever it does not say; without both, no brightness can be mapped. YUV is in the narrow range; where
        nobody says so, a picture of the right size is scaled into itself."""
        said = {"colorspace": self.matrix, "color_primaries": self.primaries, "range": self.color_range}
        narrow = _NARROW if self.pixel_format.startswith("yuv4") else {}  # yuvj420p and RGB are not
        assumed = {**(_HDR_COLOR if self.hdr else {}), **narrow}
        return {name: value for name, value in assumed.items() if said[name] in {None, "unknown", "reserved"}}

    @property
    def display_size(self) -> tuple[int, int]:
        """Width and height in square pixels as a viewer sees it: aspect applied, then rotation."""
        width = round(self.width * self.sample_aspect)
        return (self.height, width) if self.rotation in {90, 270} else (width, self.height)


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """An audio track of a source; seconds."""

    index: int
    codec: str
    channels: int
    layout: str | None
    sample_rate: int
    start: float
    duration: float | None
    bitrate: int | None
    language: str | None
    title: str | None = None
    role: str | None = None  # as the container's flags say


@dataclass(frozen=True, slots=True)
class TextTrack:
    """A subtitle track of a source."""

    index: int
    codec: str
    language: str | None
    role: str | None


@dataclass(frozen=True, slots=True)
class Probe:
    """What is in one file. Cover art, data and time-code tracks are left out."""

    format: str
    start: float
    duration: float | None
    bitrate: int | None
    video: Sequence[VideoTrack]
    audio: Sequence[AudioTrack]
    other_streams: int = 0
    brand: str | None = None  # of an MP4
    texts: Sequence[TextTrack] = ()

    @property
    def leaps(self) -> bool:
        """Whether its clock may leap: a stream that goes on after a break, or several after one another."""
        return self.format in _STREAMS

    @property
    def framed(self) -> str | None:
        """The codec of its (first) picture where the container has it in units with their lengths before them."""
        codec = self.video[0].codec if self.video else ""
        kept = any(name in self.format for name in _WITH_LENGTHS)
        return codec if kept and codec in {"h264", "hevc"} else None

    @property
    def readable(self) -> bool:
        """Whether there is any track to work with."""
        return bool(self.video or self.audio)


def probe_argv(ffprobe: str, path: str) -> list[str]:
    """Ask for containers and streams as JSON."""
    return [ffprobe, "-v", "error", *INPUT_LIMITS, "-of", "json", "-show_format", "-show_streams", path]


def packets_argv(ffprobe: str, path: str, stream: str = "V:0") -> list[str]:
    """Ask for the times and flags of the packets of one stream (`V`: video that is no cover art)."""
    entries = ["-select_streams", stream, "-show_entries", "packet=pts_time,dts_time,flags", "-of", "csv=p=0"]
    return [ffprobe, "-v", "error", *INPUT_LIMITS, *entries, path]


def places_argv(ffprobe: str, path: str, stream: int, begin: float, end: float, first: int) -> list[str]:
    """Ask where in the file the packets of a stream are that a decoder reads from `begin` to `end` (seconds of its clock), and
    its `first` ones."""
    times = f"%+#{first},{begin:.6f}%{end:.6f}"
    entries = ["-select_streams", str(stream), "-read_intervals", times, "-show_entries", "packet=pos,size"]
    return [ffprobe, "-v", "quiet", *INPUT_LIMITS, *entries, "-of", "csv=p=0", path]


def captions_argv(ffprobe: str, path: str) -> list[str]:
    """Ask whether there are captions in the first pictures."""
    entries = [
        "-select_streams",
        "V:0",
        "-read_intervals",
        f"%+#{_LOOKED_AT}",
        "-show_entries",
        "side_data=side_data_type",
    ]
    return [ffprobe, "-v", "error", *INPUT_LIMITS, *entries, "-of", "csv=p=0", path]


def key_frames_argv(ffprobe: str, path: str, until: float) -> list[str]:
    """Ask for the times of the pictures up to a time, in the order in which they come where key frames alone are decoded."""
    read = ["-skip_frame", "nokey", "-select_streams", "V:0", "-read_intervals", f"%{until:.6f}"]
    return [ffprobe, "-v", "error", *INPUT_LIMITS, *read, "-show_entries", "frame=pts_time", "-of", "csv=p=0", path]


def in_order(answer: bytes, least: int) -> bool:
    """Whether at least so many pictures came, each after the one before."""
    times = [float(line.split(b",")[0]) for line in answer.split() if line.lstrip(b"-")[:1].isdigit()]
    return len(times) >= least and all(before < after for before, after in pairwise(times))


def has_captions(answer: bytes) -> bool:
    """Whether the pictures have room for captions."""
    return b"A53 Part 4" in answer


def parse(name: str, answer: bytes, exit_code: int, stderr: str) -> Probe:
    """ffprobe's answer about the source `name`, or an InputFault that says what is wrong with it."""
    if exit_code != 0:
        raise InputFault(f"{name}: {_why_unreadable(stderr)}", exit_code=exit_code, stderr_tail=stderr)
    try:
        body = json.loads(answer)
        probe = _probe(body)
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise InputFault(
            f"{name}: its description cannot be read: {type(error).__name__}: {error}", stderr_tail=stderr
        ) from error
    if not probe.readable:
        raise InputFault(f"{name}: it has no readable video or audio track")
    _check_size(name, probe)
    return probe


def _check_size(name: str, probe: Probe) -> None:
    """A small file may ask for any amount of work: what no source of sense has is refused before it is begun."""
    tracks = len(probe.video) + len(probe.audio) + probe.other_streams
    if tracks > MAX_TRACKS:
        raise InputFault(f"{name}: it has {tracks} tracks; at most {MAX_TRACKS} are taken")
    for track in probe.video:
        if track.width * track.height > MAX_PIXELS:
            raise InputFault(f"{name}: its picture of {track.width}x{track.height} is larger than 8192x4320")


def _why_unreadable(stderr: str) -> str:
    if "moov atom not found" in stderr:
        return "it is not a media file, or it is truncated (its index, the moov box, is not there)"
    if "Invalid data found" in stderr:
        return "it is not a media file"
    return "it cannot be read as a media file: " + (stderr.strip().splitlines() or ["no reason given"])[-1]


def _probe(body: Mapping[str, Any]) -> Probe:
    container: Mapping[str, Any] = body.get("format", {})
    streams: Sequence[Mapping[str, Any]] = body.get("streams", [])
    video = tuple(_video(stream) for stream in streams if _is_video(stream))
    audio = tuple(_audio(stream) for stream in streams if _is_audio(stream))
    return Probe(
        format=str(container.get("format_name", "")),
        start=_number(container.get("start_time")) or 0.0,
        duration=_number(container.get("duration")),
        bitrate=_whole(container.get("bit_rate")),
        video=video,
        audio=audio,
        other_streams=len(streams) - len(video) - len(audio),
        brand=_brand(container),
        texts=tuple(_text(stream) for stream in streams if stream.get("codec_type") == "subtitle"),
    )


def _brand(container: Mapping[str, Any]) -> str | None:
    brand = container.get("tags", {}).get("major_brand")
    return str(brand).strip() if brand else None


def _is_video(stream: Mapping[str, Any]) -> bool:
    picture = stream.get("disposition", {}).get("attached_pic")
    known = stream.get("codec_name") not in {None, "unknown"}
    return stream.get("codec_type") == "video" and not picture and known and bool(_whole(stream.get("width")))


def _is_audio(stream: Mapping[str, Any]) -> bool:
    known = stream.get("codec_name") not in {None, "unknown"}
    return stream.get("codec_type") == "audio" and known and bool(_whole(stream.get("channels")))


def _video(stream: Mapping[str, Any]) -> VideoTrack:
    pixel_format = str(stream.get("pix_fmt", ""))
    return VideoTrack(
        index=int(stream["index"]),
        codec=str(stream["codec_name"]),
        width=int(stream["width"]),
        height=int(stream["height"]),
        sample_aspect=_ratio(stream.get("sample_aspect_ratio"), ":") or Fraction(1),
        rotation=_rotation(stream),
        pixel_format=pixel_format,
        bit_depth=_whole(stream.get("bits_per_raw_sample")) or _depth(pixel_format),
        interlaced=stream.get("field_order") in _INTERLACED,
        transfer=stream.get("color_transfer"),
        matrix=stream.get("color_space"),
        primaries=stream.get("color_primaries"),
        profile=stream.get("profile"),
        color_range=stream.get("color_range"),
        nominal_rate=_ratio(stream.get("r_frame_rate"), "/"),
        average_rate=_ratio(stream.get("avg_frame_rate"), "/"),
        declared_frames=_whole(stream.get("nb_frames")),
        declared_duration=_stream_duration(stream),
        bitrate=_whole(stream.get("bit_rate")),
        language=_language(stream),
    )


def _audio(stream: Mapping[str, Any]) -> AudioTrack:
    return AudioTrack(
        index=int(stream["index"]),
        codec=str(stream["codec_name"]),
        channels=int(stream["channels"]),
        layout=stream.get("channel_layout"),
        sample_rate=_whole(stream.get("sample_rate")) or 48_000,
        start=_number(stream.get("start_time")) or 0.0,
        duration=_stream_duration(stream),
        bitrate=_whole(stream.get("bit_rate")),
        language=_language(stream),
        title=stream.get("tags", {}).get("title"),
        role=by_disposition(stream.get("disposition", {}), text=False),
    )


def _text(stream: Mapping[str, Any]) -> TextTrack:
    role = by_disposition(stream.get("disposition", {}), text=True)
    return TextTrack(int(stream["index"]), str(stream.get("codec_name", "unknown")), _language(stream), role)


def _rotation(stream: Mapping[str, Any]) -> int:
    for side_data in stream.get("side_data_list", ()):
        if "rotation" in side_data:
            return round(float(side_data["rotation"]) / 90) * 90 % 360
    return 0


def _depth(pixel_format: str) -> int:
    for depth in (16, 14, 12, 10, 9):
        if f"{depth}le" in pixel_format or f"{depth}be" in pixel_format:
            return depth
    return 8


def _stream_duration(stream: Mapping[str, Any]) -> float | None:
    """What the container says: its header, or Matroska's tag."""
    duration = _number(stream.get("duration"))
    if duration is not None:
        return duration
    tag = next((text for name, text in stream.get("tags", {}).items() if name.startswith("DURATION")), None)
    return _clock(tag) if tag else None


def _clock(text: str) -> float | None:
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _language(stream: Mapping[str, Any]) -> str | None:
    said = stream.get("tags", {}).get("language")
    return tag_of(str(said)) if said else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _ratio(value: Any, separator: str) -> Fraction | None:
    try:
        over, under = str(value).split(separator)
        return Fraction(int(over), int(under)) or None
    except (ValueError, ZeroDivisionError):
        return None


def check_whole(name: str, probe: Probe, timing: Timing | None, stderr: str) -> Timing:
    """Raise an InputFault where the (first) video track of `name` has no frames, or fewer than it declares."""
    track = probe.video[0]
    if timing is None:
        raise InputFault(f"{name}: its video track has no frames with times", stderr_tail=stderr)
    declared = track.declared_frames if "mp4" in probe.format else None  # others count otherwise
    if declared and timing.packets < declared:
        found = f"{timing.packets} of {declared} frames are there"
        raise InputFault(f"{name}: it is truncated: {found}", stderr_tail=stderr)
    if any(mark in stderr for mark in _TRUNCATED):
        raise InputFault(f"{name}: it is truncated: it ends after {timing.duration:.3f} s", stderr_tail=stderr)
    if track.declared_duration and _reached(probe, timing) < 0.98 * track.declared_duration - 0.5:
        found = f"its video ends after {timing.duration:.3f} s of {track.declared_duration:.3f} s"
        raise InputFault(f"{name}: it is truncated: {found}", stderr_tail=stderr)
    return timing


def _reached(probe: Probe, timing: Timing) -> float:
    """The length of a track as its container would tell it: Matroska counts from zero, whenever the track begins."""
    return timing.duration + (max(0.0, timing.first) if "matroska" in probe.format else 0.0)


def check_audio(name: str, track: AudioTrack, span: tuple[float, float] | None, stderr: str) -> AudioTrack:
    """The audio track with the length that its packets (first and last time) say; InputFault where it is truncated."""
    if span is None:
        raise InputFault(f"{name}: its audio track has no packets with times", stderr_tail=stderr)
    measured = span[1] - span[0] + 1024 / track.sample_rate
    if any(mark in stderr for mark in _TRUNCATED):
        raise InputFault(f"{name}: it is truncated: it ends after {measured:.3f} s", stderr_tail=stderr)
    if track.duration is not None and abs(track.duration - measured) < 0.2:
        return track
    return replace(track, duration=measured)
