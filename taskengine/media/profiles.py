"""What an encoding profile says: the model of the files in `config/profiles`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from taskengine.media.encoders import AUDIO, VIDEO

Positive = Annotated[int, Field(gt=0)]
Word = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
PROFILE_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
Item = TypeVar("Item")


def _some(items: tuple[Item, ...]) -> tuple[Item, ...]:
    if not items:
        raise ValueError("at least one is needed")
    return items


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rung(_Model):
    """One rung of a ladder: the box that the picture fits in, its quality and its bit rates."""

    width: Positive = Field(description="Of the box, in pixels; the box is turned for portrait.")
    height: Positive = Field(description="Of the box, in pixels.")
    crf: Annotated[int, Field(ge=0, le=63)] = Field(
        description="The constant quality: less is better. Up to 51 for H.264 and HEVC, up to 63 for AV1."
    )
    max_bitrate: Positive = Field(description="The cap, in bit/s.")
    bitrate: Positive | None = Field(
        None, description="The average of `encoding_mode: MULTIPASS`, in bit/s; null is two thirds of `max_bitrate`."
    )
    profile: Word | None = Field(
        None, description="`baseline`, `main` or `high` of H.264, `main` or `main10` of HEVC; null: what fits."
    )

    @model_validator(mode="after")
    def _below_its_cap(self) -> Rung:
        if self.bitrate and self.bitrate > self.max_bitrate:
            raise ValueError(f"bitrate must be at most max_bitrate ({self.max_bitrate})")
        return self

    @property
    def average(self) -> int:
        """Bit/s where two passes meet an average."""
        return self.bitrate or round(self.max_bitrate * 2 / 3)


class VideoProfile(_Model):
    """One encoder with its rungs."""

    encoder: Literal["libx264", "libx265", "libsvtav1"] = Field(description="H.264, HEVC or AV1.")
    preset: Word = Field("veryfast", description="The encoder's own word for its speed (0–13 for AV1).")
    pixel_format: Literal["yuv420p", "yuv420p10le"] = Field(
        "yuv420p", description="8 bits, or (HEVC and AV1 alone) 10. HDR that is kept has 10 in any case."
    )
    hdr: Literal["keep", "tone_map"] = Field(
        "tone_map",
        description="What becomes of HDR (PQ, HLG): kept, with its colours (HEVC and AV1 alone), or mapped to SDR.",
    )
    rungs: Annotated[tuple[Rung, ...], AfterValidator(_some)] = Field(description="In any order.")

    @field_validator("preset", mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("pixel_format", "hdr")
    @classmethod
    def _possible(cls, value: str, info: ValidationInfo) -> str:
        able = VIDEO.get(info.data.get("encoder", ""))
        if able and (value == "keep" and not able.hdr):
            raise ValueError(f"{info.data['encoder']} cannot keep HDR")
        if able and info.field_name == "pixel_format" and value not in able.pixel_formats:
            raise ValueError(f"{info.data['encoder']} takes {', '.join(able.pixel_formats)}")
        return value

    @field_validator("rungs")
    @classmethod
    def _of_the_encoder(cls, rungs: tuple[Rung, ...], info: ValidationInfo) -> tuple[Rung, ...]:
        able = VIDEO.get(info.data.get("encoder", ""))
        for rung in rungs if able else ():
            if able and rung.crf > able.max_crf:
                raise ValueError(f"crf {rung.crf} is over {able.max_crf}, the most of {info.data['encoder']}")
            if able and rung.profile and rung.profile not in able.ranks:
                raise ValueError(f"profile {rung.profile!r} is none of {', '.join(able.ranks)}")
        return rungs


class AudioBitrates(_Model):
    """Bit/s by layout."""

    mono: Positive = Field(96_000, description="One channel.")
    stereo: Positive = Field(128_000, description="Two channels.")
    surround: Positive = Field(384_000, description="5.1.")


class Loudness(_Model):
    """EBU R128, in two passes: measured first, then one gain for the whole track; the peak is never passed for it."""

    integrated: Annotated[float, Field(ge=-70, le=-5)] = Field(-23.0, description="The loudness to reach, in LUFS.")
    true_peak: Annotated[float, Field(ge=-9, le=0)] = Field(-1.0, description="The highest peak, in dBTP.")


class AudioProfile(_Model):
    """How audio is encoded. Every track is there once in mono or stereo; one of more channels also in 5.1."""

    encoder: Literal["aac", "ac3", "eac3"] = Field("aac", description="Of ffmpeg.")
    sample_rate: Literal[44_100, 48_000] = Field(48_000, description="In Hz; 44100 is kept.")
    bitrates: AudioBitrates = Field(AudioBitrates(), description="Bit/s by layout.")
    downmix: Literal["standard", "dialogue", "matrix"] = Field(
        "standard",
        description="How stereo is made of more channels: `standard` (as the source says of itself, else centre and "
        "surround -3 dB; no LFE), `dialogue` (centre 0 dB, surround -6 dB), `matrix` (Dolby Pro Logic II).",
    )
    loudness: Loudness | None = Field(None, description="The loudness to bring every track to; null leaves it.")

    @property
    def codec(self) -> str:
        """What its tracks are called."""
        return AUDIO[self.encoder]


class Chunks(_Model):
    """Long sources are encoded in chunks, by as many workers as there are."""

    above: Annotated[float, Field(ge=0)] = Field(1200.0, description="Sources longer than this many seconds.")
    duration: Annotated[float, Field(gt=0, le=3600)] = Field(
        60.0, description="Seconds of a chunk; made a multiple of the segment duration."
    )


class PerTitle(_Model):
    """Lowers or drops rungs by the quality that samples of the source really have (VMAF, 0–100)."""

    target: Annotated[float, Field(gt=0, le=100)] = Field(95.0, description="A rung that is better is encoded smaller.")
    min_gain: Annotated[float, Field(ge=0, le=50)] = Field(
        2.0, description="A rung that is not better than the next smaller one by this is dropped."
    )
    max_crf_increase: Annotated[int, Field(ge=0, le=20)] = Field(8, description="How far `crf` may be raised.")
    samples: Annotated[int, Field(gt=0, le=20)] = Field(4, description="Parts of the source that are tried.")
    sample_duration: Annotated[float, Field(gt=0, le=60)] = Field(3.0, description="Seconds of each.")


class Profile(_Model):
    """A ladder, and how it is encoded."""

    name: Annotated[str, Field(pattern=f"^{PROFILE_NAME}$")] = Field(description="The name of its file.")
    description: str = Field("", description="For people.")
    segment_duration: Annotated[float, Field(gt=0, le=60)] = Field(
        4.0, description="Seconds of a segment; key frames lie on multiples of it."
    )
    copy_fitting: bool = Field(
        True, description="Whether a source that already is what a rung asks for is copied, not encoded again."
    )
    video: Annotated[tuple[VideoProfile, ...], AfterValidator(_some)] = Field(
        description="One entry per encoder. The first rendition of the first one is what a progressive MP4 gets."
    )
    audio: AudioProfile = Field(AudioProfile(), description="How audio is encoded.")
    chunks: Chunks | None = Field(Chunks(), description="When and how a source is cut into chunks; null: never.")
    per_title: PerTitle | None = Field(None, description="Whether rungs follow the source; null: they do not.")
    measure_quality: bool = Field(False, description="Whether the VMAF of each rendition goes into `metadata.json`.")
