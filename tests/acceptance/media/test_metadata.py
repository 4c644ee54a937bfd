"""`metadata.json`: what an asset tells of itself, compared with what is there."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from taskengine.keys.seed import derive_key_id
from tests.support.decrypting import SEED, key_of
from tests.support.media import AAC, SEED_KEYS, Studio, ffmpeg, picture, sound


def metadata(studio: Studio) -> dict[str, Any]:
    """As it is now."""
    found: dict[str, Any] = json.loads((studio.output / "metadata.json").read_text())
    return found


def check_files(studio: Studio) -> None:
    """Every file of the folder is listed with its size and checksum, once, and nothing else is."""
    listed = [file["path"] for file in metadata(studio)["files"]]
    there = {str(path.relative_to(studio.output)) for path in studio.output.rglob("*") if path.is_file()}
    assert sorted(listed) == sorted(there - {"metadata.json"})
    for file in metadata(studio)["files"]:
        data = (studio.output / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"]), file["path"]


def programs(studio: Studio, output: str) -> list[str]:
    """The programs whose commands name this file."""
    return [command[0] for command in metadata(studio)["commands"] if any(output in word for word in command)]


async def test_an_asset_tells_what_it_is_and_what_made_it(tmp_path: Path) -> None:
    """Duration, tracks, codecs, checksums, versions, commands; after each thing that is done to it. No secret, no path."""
    studio = Studio(tmp_path)
    ffmpeg(studio.source, *picture("320x180", seconds=3), *sound(3, channels=2), "-c:v", "mpeg4", *AAC, "film.mp4")
    ffmpeg(studio.source, *sound(3, 880), *AAC, "voice_fra.m4a")
    (studio.source / "film_deu.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHallo\n")
    await studio.stream(
        encode_source=True, generate_mp4=True, preview_thumbnails=True, preview_thumbnails_interval=1, trickplay=True,
        trickplay_thumbnail_interval=1, drm=["clear", "widevine", "fairplay", "aes"], download_cpix=True,
    )  # fmt: skip
    check_files(studio)
    told = metadata(studio)
    assert (told["content_id"], told["job_id"], told["segment_duration"]) == ("film", 1, 4.0)
    assert told["duration"] == pytest.approx(3, abs=0.03)
    assert told["active"] == {
        "protection": "cbcs", "version": "1-1", "hls": "film.m3u8", "dash": "film.mpd",
        "sets": {"hls": "cbcs", "dash": "cenc"},
    }  # fmt: skip
    assert told["sets"].keys() == {"clear", "cenc", "cbcs", "aes"}
    sizes = {path.name: path.stat().st_size for path in studio.source.iterdir()}
    assert {source["name"]: source["size"] for source in told["sources"]} == sizes
    video, audio, other, text = told["tracks"]
    assert {name: video[name] for name in ("kind", "codec", "width", "height", "frame_rate", "frames", "copied")} == {
        "kind": "video", "codec": "h264", "width": 320, "height": 180, "frame_rate": "25", "frames": 75, "copied": False,
    }  # fmt: skip
    assert video["bitrate"] > 10_000
    assert {name: audio[name] for name in ("kind", "codec", "channels", "sample_rate", "language")} == {
        "kind": "audio", "codec": "aac", "channels": 2, "sample_rate": 48_000, "language": "und",
    }  # fmt: skip
    assert (other["language"], other["channels"]) == ("fr", 1)
    assert min(audio["bitrate"], other["bitrate"]) > 10_000
    assert {name: text[name] for name in ("kind", "codec", "language")} == {
        "kind": "text", "codec": "webvtt", "language": "de",
    }  # fmt: skip
    assert [track["duration"] for track in (video, audio, other)] == [pytest.approx(3, abs=0.05)] * 3
    assert told["tools"].keys() == {"ffmpeg", "ffprobe", "packager"}
    assert all(version[:1].isalnum() and version != "unknown" for version in told["tools"].values())
    assert any("libx264" in command and "video_1.mp4" in command for command in told["commands"])
    assert programs(studio, "poster.jpg")
    assert programs(studio, "progressive.mp4")
    assert len(programs(studio, "sheet_%d.jpg")) == 2  # previews; tiles, not once for each set
    assert {name for name in ("clear", "cenc", "cbcs", "aes") if programs(studio, f"init_segment={name}/")} == {
        "clear", "cenc", "cbcs",
    }  # fmt: skip
    assert programs(studio, "segment_template=aes/")
    check_commands(studio)

    before = len(told["commands"])
    await studio.run("createmp4", source_folder="film", mp4_filename="all.mp4", mezzanine=True)
    check_files(studio)
    assert len(metadata(studio)["commands"]) == before + 1
    await studio.run("createmp4", source_folder="film", mp4_filename="all.mp4", mezzanine=True)
    assert len(metadata(studio)["commands"]) == before + 1
    await studio.run("drmswitch", folder="film", drm=["playready"], download_cpix=True)
    check_files(studio)
    await studio.run("trickplay", source_folder="film", trickplay_thumbnail_interval=2)
    check_files(studio)
    assert metadata(studio)["tools"].keys() == told["tools"].keys()
    check_commands(studio)


def check_commands(studio: Studio) -> None:
    """Programs by name, files by plain names; no key and no seed in any form."""
    commands = metadata(studio)["commands"]
    assert {command[0].split("-")[0] for command in commands} == {"ffmpeg", "ffprobe", "packager"}
    words = [word for command in commands for word in command]
    assert not [word for word in words if str(studio.folder) in word or word.startswith("/")]
    keys = [key_of(scheme, label) for scheme in ("cenc", "cbcs", "aes") for label in ("SD", "AUDIO")]
    assert derive_key_id(SEED, "film", "cenc", "SD").hex() in json.dumps(metadata(studio))  # ids are no secret
    text = json.dumps(metadata(studio)).lower()
    for secret in (*keys, SEED):
        assert secret.hex() not in text
        assert base64.b64encode(secret).decode().rstrip("=").lower() not in text
    assert str(SEED_KEYS.seed).lower() not in text
