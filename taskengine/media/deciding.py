"""Deciding an encoding: one source video and its audio into the renditions of a profile. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from taskengine.domain.errors import InputFault
from taskengine.media.encoding import AudioEncoding, Encoding, VideoEncoding
from taskengine.media.fitting import fits
from taskengine.media.ladder import Rendition, renditions
from taskengine.media.probe import VideoTrack
from taskengine.media.profiles import AudioProfile, Profile
from taskengine.media.sources import AudioChoice, Source, audio_choices
from taskengine.media.thumbnails import Grid, grid
from taskengine.media.timing import Timing

MULTIPASS = "MULTIPASS"
SURROUND_FROM = 3  # channels
NOTABLE_S = 0.1  # a difference of lengths that the log tells


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the job asks of an encoding."""

    all_audio_tracks: bool = True
    extract_audio: bool = True
    poster_time: float | None = None  # None: no poster
    preview_interval: float | None = None  # None: no previews
    mode: str = "STANDARD"


def decide(sources: Sequence[Source], profile: Profile, wishes: Wishes) -> Encoding:
    """The encoding of these sources; InputFault where nothing is left to encode."""
    video = _video(sources, profile)
    choices = audio_choices(sources, all_tracks=wishes.all_audio_tracks, from_video=wishes.extract_audio)
    if not video and not choices:
        raise InputFault("extract_audio: there is no video and no audio left to encode")
    duration = video.duration if video else max(choice.track.duration or 0.0 for choice in choices)
    audio = _audio(sources, choices, profile.audio)
    return Encoding(
        inputs=[source.plain for source in sources],
        video=video,
        audio=audio,
        audio_encoder=profile.audio.encoder,
        duration=duration,
        segment_duration=profile.segment_duration,
        poster=_poster(video, wishes),
        previews=_previews(video, wishes),
        notes=[*_mode_notes(wishes, video), *_video_notes(sources, video), *_audio_notes(choices, duration)],
        two_passes=wishes.mode == MULTIPASS and bool(video and video.in_passes),
        loudness=profile.audio.loudness,
    )


def copies(source: Source, profile: Profile) -> bool:
    """Whether a rung is the source's picture as it is, as far as is known of it."""
    track = source.video
    return track is not None and any(rendition.copied for rendition in _renditions(source, track, profile))


def _timing(source: Source, track: VideoTrack) -> Timing:
    if track.timing is None:
        raise InputFault(f"{source.name}: its video track has no frames with times")
    return track.timing


def _video(sources: Sequence[Source], profile: Profile) -> VideoEncoding | None:
    for number, source in enumerate(sources):
        if (track := source.video) is not None:
            timing = _timing(source, track)
            frames = timing.frames if timing.constant else max(1, round(timing.duration * timing.rate))
            return VideoEncoding(
                input=number,
                stream=track.index,
                interlaced=track.interlaced,
                hdr=track.hdr,
                rate=timing.rate,
                frames=frames,
                exact=timing.constant and not track.interlaced,
                size=track.display_size,
                renditions=_renditions(source, track, profile),
                assumed_color=track.assumed_color,
                ten_bits=track.bit_depth > 8,
                begin=round(timing.first - source.probe.start, 6),
                light=source.light,
            )
    return None


def _renditions(source: Source, track: VideoTrack, profile: Profile) -> Sequence[Rendition]:
    """Those of the ladder; what the source already is is copied."""
    planned = renditions(track.display_size, profile.video, hdr=track.hdr)
    if not profile.copy_fitting:
        return planned
    return [
        replace(rendition, copied=fits(source, track, rendition, profile.segment_duration)) for rendition in planned
    ]


def _audio(sources: Sequence[Source], choices: Sequence[AudioChoice], settings: AudioProfile) -> list[AudioEncoding]:
    """Stereo (or mono) of every track first, then the surround ones: each group of renditions is whole in itself."""
    plain = [(choice, _plain_layout(choice)) for choice in choices]
    surround = [(choice, "5.1") for choice in choices if choice.track.channels >= SURROUND_FROM]
    numbers = {source.plain: number for number, source in enumerate(sources)}
    bitrates = {"mono": settings.bitrates.mono, "stereo": settings.bitrates.stereo, "5.1": settings.bitrates.surround}
    return [
        AudioEncoding(
            name=f"audio_{number}",
            input=numbers[choice.source.plain],
            stream=choice.track.index,
            offset=_offset(choice.source),
            layout=layout,
            bitrate=bitrates[layout],
            sample_rate=44_100 if choice.track.sample_rate == 44_100 else settings.sample_rate,
            language=choice.language,
            role=choice.role,
            downmix=settings.downmix if layout == "stereo" and choice.track.channels >= SURROUND_FROM else None,
        )
        for number, (choice, layout) in enumerate([*plain, *surround], start=1)
    ]


def _plain_layout(choice: AudioChoice) -> str:
    return "mono" if choice.track.channels == 1 else "stereo"


def _offset(source: Source) -> float:
    if source.video is None or source.video.timing is None:
        return 0.0
    return round(source.video.timing.first - source.probe.start, 6)


def _poster(video: VideoEncoding | None, wishes: Wishes) -> float | None:
    if video is None or wishes.poster_time is None:
        return None
    return min(wishes.poster_time, video.last_frame)


def _previews(video: VideoEncoding | None, wishes: Wishes) -> Grid | None:
    if video is None or wishes.preview_interval is None:
        return None
    return grid(video.size, video.duration, video.last_frame, wishes.preview_interval)


def _mode_notes(wishes: Wishes, video: VideoEncoding | None) -> Sequence[str]:
    if wishes.mode not in {"STANDARD", MULTIPASS}:
        return [f"encoding_mode: {wishes.mode!r} is accepted; it is encoded as STANDARD"]
    one = [rendition.encoder for rendition in video.encoded if rendition not in video.in_passes] if video else []
    if wishes.mode == MULTIPASS and one:
        return [f"encoding_mode: {one[0]} has no second pass that is fit for use: its renditions have one"]
    return []


def _video_notes(sources: Sequence[Source], video: VideoEncoding | None) -> Sequence[str]:
    if video is None:
        return ["there is no video: the asset has audio alone"]
    source = sources[video.input]
    kept = {rendition.hdr for rendition in video.renditions}
    facts: Mapping[str, bool] = {
        "it is interlaced: deinterlaced": video.interlaced,
        f"its frame rate varies: made constant at {float(video.rate):.3f} frames per second": not _constant(source),
        "it is HDR: kept": video.hdr and kept == {True},
        "it is HDR: kept, and mapped to SDR beside it": video.hdr and len(kept) > 1,
        "it is HDR: mapped to SDR": video.hdr and kept == {False},
    }
    copied = [
        f"it is what the rung of {rendition.width}x{rendition.height} asks for: copied, not encoded"
        for rendition in video.copied
    ]
    return [f"{source.name}: {fact}" for fact in [*(fact for fact, holds in facts.items() if holds), *copied]]


def _constant(source: Source) -> bool:
    return bool(source.video and source.video.timing and source.video.timing.constant)


def _audio_notes(choices: Sequence[AudioChoice], duration: float) -> Sequence[str]:
    notes = []
    for choice in choices:
        length = choice.track.duration
        if length is not None and abs(length - duration) > NOTABLE_S:
            verb = "trimmed" if length > duration else "padded with silence"
            notes.append(f"{choice.source.name}: its audio is {length:.3f} s long, {verb} to {duration:.3f} s")
    return notes
