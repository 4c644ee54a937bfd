"""Encoding profiles: the ladders of `config/profiles`, one YAML file each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import taskengine
from taskengine.domain.errors import InputFault, ResourceFault

Positive = Annotated[int, Field(gt=0)]
Word = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rung(_Model):
    """One rung: the box that the picture fits in, the quality and its peak in bit/s."""

    width: Positive
    height: Positive
    crf: Annotated[int, Field(ge=0, le=51)]
    max_bitrate: Positive
    profile: Word = "high"


class VideoProfile(_Model):
    """How video is encoded; rungs from the largest to the smallest."""

    encoder: Word
    preset: Word = "veryfast"
    pixel_format: Word = "yuv420p"
    rungs: Annotated[tuple[Rung, ...], Field(min_length=1)]


class AudioBitrates(_Model):
    """bit/s by layout."""

    mono: Positive = 96_000
    stereo: Positive = 128_000
    surround: Positive = 384_000


class AudioProfile(_Model):
    """How audio is encoded."""

    encoder: Word = "aac"
    sample_rate: Positive = 48_000
    bitrates: AudioBitrates = AudioBitrates()


class Profile(_Model):
    """A ladder."""

    name: str
    description: str = ""
    segment_duration: Annotated[float, Field(gt=0, le=60)] = 4.0
    video: VideoProfile
    audio: AudioProfile = AudioProfile()


def profiles_folder() -> Path:
    """Where the profiles that come with the product are."""
    return Path(taskengine.__file__).parent / "config" / "profiles"


def profile_names(folder: Path | None = None) -> Sequence[str]:
    """Every profile there is."""
    return sorted(file.stem for file in (folder or profiles_folder()).glob("*.yaml"))


def load_profile(name: str, folder: Path | None = None) -> Profile:
    """A profile by name. InputFault where there is none of it, ResourceFault where the file is wrong."""
    folder = folder or profiles_folder()
    path = folder / f"{name}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name) or not path.is_file():
        known = ", ".join(profile_names(folder))
        raise InputFault(f"encoding_profile: there is no profile {name!r}; there are: {known}")
    return parse_profile(path.read_text(encoding="utf-8"), path.name)


def parse_profile(text: str, origin: str) -> Profile:
    """A profile from its YAML; a ResourceFault names every fault of the file."""
    try:
        return Profile.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ResourceFault(f"{origin}: it is not YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ResourceFault(f"{origin}: {faults}") from error
