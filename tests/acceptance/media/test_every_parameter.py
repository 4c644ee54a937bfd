"""Each parameter of the workflows around an asset does its work: where that is shown, and here what is shown nowhere else."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from taskengine.domain.errors import ResourceFault, StorageError
from taskengine.handlers import HANDLERS
from taskengine.media.tools import find_tools
from taskengine.storage.local import LocalStorage
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator
from tests.support.media import AAC, H264, Studio, ffmpeg, picture, sound, video_source

TESTS = Path(__file__).parents[2]
CATALOG = Catalog(CelEvaluator(), HANDLERS)
HERE = "acceptance/media/test_every_parameter.py"
AS_THEY_ARE = "acceptance/media/test_sources_as_they_are.py"
CAPTIONS = "acceptance/media/test_captions_and_languages.py"
OF_AN_ASSET = "acceptance/media/test_of_an_asset.py"
PROFILES = "acceptance/media/test_profiles.py"
PROTECTION = "acceptance/media/test_protection.py"
STORAGE = "acceptance/media/test_object_storage.py"
STREAMS = "acceptance/media/test_streams.py"
TRICK_PLAY = "acceptance/media/test_trick_play.py"

EVERYWHERE = {
    "content_id": f"{AS_THEY_ARE}::test_each_video_file_is_a_rendition",
    "rest_endpoints": "integration/test_callback_delivery.py::test_a_hanging_endpoint_is_no_concern_of_another",
    "custom_data": "unit/callbacks/test_bodies.py::test_a_job_callback_has_the_common_fields_then_the_workflow_s",
    "output_root": "integration/test_client_roots.py::test_the_same_name_is_each_clients_own",
    "source_storage": f"{STORAGE}::test_an_asset_lives_in_a_bucket",
    "destination_storage": f"{STORAGE}::test_a_source_in_a_bucket_becomes_an_asset_on_the_disk",
    "retries": f"{HERE}::test_the_source_is_fetched_as_often_as_retries_says",
}
OTHER_VALUES = f"{HERE}::test_images_sound_and_folders_are_as_asked"
ENTIRELY = f"{PROTECTION}::test_nothing_clear_is_stored_where_all_is_to_be_encrypted"
PROTECTED = f"{PROTECTION}::test_every_protection_of_one_job"
SWITCHED = f"{PROTECTION}::test_turning_protection_on_and_off"
DOCUMENT = f"{PROTECTION}::test_a_switch_keeps_the_document_and_wants_a_key_service_where_it_is_told_so"
KEY_SERVICE = f"{PROTECTION}::test_a_key_service_gives_keys_and_what_players_are_told"
ENCODED = f"{PROFILES}::test_two_passes_meet_an_average_and_what_fits_is_copied"
NAMED = f"{CAPTIONS}::test_one_asset_has_every_track_under_its_name"
SCRUBBED = f"{TRICK_PLAY}::test_an_asset_has_what_players_scrub_by"
ADDED = f"{TRICK_PLAY}::test_it_is_added_to_an_asset"
PREVIEWS = f"{STREAMS}::test_previews_of_a_stream_take_its_smallest_rendition_and_only_what_they_need"
SPARSE = f"{STREAMS}::test_previews_are_called_as_asked_and_a_stream_that_tells_no_rate_has_the_given_one"
FRAME = f"{STREAMS}::test_a_frame_of_a_stream_is_the_one_that_is_shown_then"
GIF = f"{STREAMS}::test_a_gif_has_the_frames_the_size_and_the_loop_that_were_asked_for"
MP4 = f"{OF_AN_ASSET}::test_createmp4_takes_the_best_or_all_of_an_asset"
NOTED = f"{HERE}::test_what_has_no_counterpart_here_is_told_in_the_log"
IMAGES = {
    f"trickplay_{name}": SCRUBBED for name in ("thumbnails", "thumbnail_size", "thumbnail_interval")
} | {"trickplay_thumbnail_quality": f"{TRICK_PLAY}::test_quality_makes_larger_images"}  # fmt: skip

SHOWN: Mapping[str, Mapping[str, str]] = {
    "vodstream": IMAGES | {
        "source_folder": f"{AS_THEY_ARE}::test_each_video_file_is_a_rendition",
        "output_folder": OTHER_VALUES,
        "delete_source":
            "acceptance/media/test_publication.py::test_the_source_is_deleted_when_asked_and_what_came_meanwhile_is_not",
        "combine_sources": f"{CAPTIONS}::test_files_tell_their_source_where_sources_are_not_combined",
        "create_dref": NOTED, "encoding_region": NOTED, "encoder_version": NOTED,
        "all_audio_tracks":
            "acceptance/media/test_sources_that_encode.py"
            "::test_the_highest_bit_rate_of_each_language_alone_where_all_are_not_wanted",
        "file_properties": NAMED, "file_parameters": f"{HERE}::test_an_older_name_of_file_properties_does_the_same",
        "encode_source": ENCODED, "encoding_profile": ENCODED, "encoding_mode": ENCODED,
        "extract_audio": OTHER_VALUES,
        "drm": PROTECTED, "enable_drm": ENTIRELY, "encrypted": ENTIRELY, "cpix": KEY_SERVICE,
        "download_cpix": PROTECTED, "encrypt_ismv": ENTIRELY, "playready_key": ENTIRELY,
        "create_thumbnail": OTHER_VALUES, "thumbnail_time": OTHER_VALUES,
        "preview_thumbnails": OTHER_VALUES, "preview_thumbnails_interval": OTHER_VALUES,
        "generate_mp4": OTHER_VALUES, "mp4_filename": OTHER_VALUES,
        "mezzanine": f"{AS_THEY_ARE}::test_the_progressive_mp4_has_the_best_tracks_or_all",
        "apply_track_properties": NAMED, "track_properties": NAMED, "trickplay": SCRUBBED,
    },
    "drmswitch": {"folder": SWITCHED, "drm": SWITCHED, "cpix": DOCUMENT, "download_cpix": DOCUMENT},
    "createmp4": {"source_folder": MP4, "output_folder": MP4, "mp4_filename": MP4, "mezzanine": MP4},
    "trickplay": {
        "source_folder": ADDED, "trickplay_thumbnails": ADDED,
        "trickplay_thumbnail_size": ADDED, "trickplay_thumbnail_interval": ADDED,
        "trickplay_thumbnail_quality": f"{TRICK_PLAY}::test_quality_makes_larger_images",
        "output_folder": f"{TRICK_PLAY}::test_it_may_go_into_another_folder",
    },
    "build_thumbnails": dict.fromkeys(
        ("source", "output_folder", "target_filename", "preview_thumbnails_interval", "seconds_between"), PREVIEWS
    ) | dict.fromkeys(("filename_prefix", "target_file_name", "video_fps"), SPARSE),
    "capture_frame": dict.fromkeys(("source", "frame_time", "output_folder", "image_filename"), FRAME),
    "generate_gif": dict.fromkeys(
        ("source", "start_at", "duration", "output_folder", "gif_filename", "bitrate", "fps", "width", "height",
         "playback_loop", "reverse", "playback_speed"), GIF
    ),
    "voddelete": {"folder": f"{OF_AN_ASSET}::test_voddelete_removes_the_folder_and_no_other"},
    "asset_delete": {"files": f"{OF_AN_ASSET}::test_asset_delete_removes_single_files"},
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_every_parameter_is_shown_by_a_test_that_is_there(name: str) -> None:
    """None is left out, and each test named exists. Whether it shows the parameter is for its reader to judge."""
    loaded = CATALOG.get(name, "")
    assert loaded is not None
    shown = {each: test for each, test in EVERYWHERE.items() if each in loaded.workflow.schema["properties"]}
    shown |= SHOWN[name]
    assert set(shown) == set(loaded.workflow.schema["properties"])
    for test in shown.values():
        file, _, function = test.partition("::")
        assert re.search(rf"def {function}\(", (TESTS / file).read_text(encoding="utf-8")), test


@pytest.mark.parametrize("name", SHOWN)
def test_every_parameter_reaches_a_step(name: str) -> None:
    """In each workflow, whichever of them the test above shows it by; an endpoint and what comes back are the engine's."""
    loaded = CATALOG.get(name, "")
    assert loaded is not None
    definition = {key: value for key, value in json.loads(loaded.workflow.source).items() if key != "parameters"}
    properties = loaded.workflow.schema["properties"]
    given = [each for each, schema in properties.items() if "x-alias-of" not in schema]
    unread = {each for each in given if not re.search(rf"\bparameters\.{each}\b", json.dumps(definition))}
    assert unread <= {"content_id", "rest_endpoints", "custom_data"}


def colour(path: Path) -> tuple[int, int, int]:
    """The mean colour of an image."""
    argv = [find_tools().ffmpeg, "-v", "error", "-i", str(path), "-vf", "scale=1:1", "-pix_fmt", "rgb24", "-f", "rawvideo",
            "-"]  # fmt: skip
    red, green, blue = subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout
    return red, green, blue


@pytest.mark.parametrize("encode", [True, False])
async def test_images_sound_and_folders_are_as_asked(tmp_path: Path, *, encode: bool) -> None:
    """A film that is red for two seconds, then blue: at the defaults, and with everything another way."""
    studio = Studio(tmp_path)
    colours = "color=red:s=160x90:d=2[a];color=blue:s=160x90:d=2[b];[a][b]concat,fps=25"
    ffmpeg(studio.source, "-f", "lavfi", "-i", colours, *sound(4), *H264, "-g", "25", *AAC, "film.mp4")
    await studio.stream(encode_source=encode)
    plain = {path.name for path in studio.output.iterdir()}
    assert plain == {"film.m3u8", "film.mpd", "metadata.json", "thumbnail.jpg", "v"}
    assert colour(studio.output / "thumbnail.jpg")[0] > 200
    assert "audio_1" in (studio.output / "film.m3u8").read_text()

    wishes = {"thumbnail_time": "00:03.000", "preview_thumbnails": True, "preview_thumbnails_interval": 2}
    files = {"generate_mp4": True, "mp4_filename": "to keep.mp4", "output_folder": "other/place"}
    sounds = {"extract_audio": False} if encode else {}
    await studio.stream(encode_source=encode, **wishes, **files, **sounds)
    other = studio.roots["output_root"] / "other" / "place"
    assert {path.name for path in other.iterdir()} == plain | {"film.vtt", "film_sprite.jpg", "to keep.mp4"}
    assert colour(other / "thumbnail.jpg")[2] > 200
    assert re.findall(r"^\S+ --> \S+", (other / "film.vtt").read_text(), re.MULTILINE) == [
        "00:00:00.000 --> 00:00:02.000", "00:00:02.000 --> 00:00:04.000",
    ]  # fmt: skip
    assert ("audio_1" in (other / "film.m3u8").read_text()) is not encode

    await studio.stream(encode_source=encode, create_thumbnail=False, output_folder="bare")
    assert not (studio.roots["output_root"] / "bare" / "thumbnail.jpg").exists()


async def test_what_has_no_counterpart_here_is_told_in_the_log(tmp_path: Path) -> None:
    """What asks for nothing is not noted; what asks for something is accepted, and the log says that it has no effect."""
    studio = Studio(tmp_path)
    ffmpeg(studio.source, *picture("160x90"), *H264, "film.mp4")
    await studio.stream(create_dref=False)
    assert "without effect" not in studio.log.text
    await studio.stream(encoding_region="aws-eu-west-1", encoder_version="BETA")
    noted = re.findall(r"^(\w+): accepted, without effect", studio.log.text, re.MULTILINE)
    assert set(noted) == {"create_dref", "encoding_region", "encoder_version"}


async def test_an_older_name_of_file_properties_does_the_same(tmp_path: Path) -> None:
    """`file_parameters` gives a file its language."""
    studio = Studio(tmp_path)
    video_source(studio.source / "film.mp4", size="160x90")
    await studio.stream(file_parameters={"film.mp4": {"language": "swe"}})
    assert 'LANGUAGE="sv"' in (studio.output / "film.m3u8").read_text()


async def test_the_source_is_fetched_as_often_as_retries_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that breaks off once: the second try brings the file, and without one the task fails."""
    studio = Studio(tmp_path)
    ffmpeg(studio.source, *picture("160x90"), *H264, "film.mp4")
    fetch, broken = LocalStorage.fetch, [True]

    async def breaks(self: LocalStorage, path: str, target: Path) -> None:
        if broken and path.endswith("film.mp4"):
            broken.pop()
            raise StorageError("the connection was cut")
        await fetch(self, path, target)

    monkeypatch.setattr(LocalStorage, "fetch", breaks)
    await studio.stream(retries=1)
    assert "film.mp4: fetched again, try 2 of 2" in studio.log.text
    broken.append(True)
    with pytest.raises(ResourceFault, match="the connection was cut"):
        await studio.stream()
