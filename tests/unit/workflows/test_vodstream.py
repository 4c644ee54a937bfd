"""vodstream's file: it loads with the handlers there are, and judges parameters as published."""

from typing import Any

import pytest

from taskengine.handlers import HANDLERS
from taskengine.ports import LoadedWorkflow
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.explain import explain
from taskengine.workflows.expressions import CelEvaluator

GIVEN = {"content_id": "film", "source_folder": "in/film"}


@pytest.fixture(scope="module")
def vodstream() -> LoadedWorkflow:
    """As every client gets it."""
    catalog = Catalog(CelEvaluator(), HANDLERS)
    assert not catalog.faults
    loaded = catalog.get("vodstream", "demo")
    assert loaded is not None
    return loaded


def test_its_defaults_follow_what_is_given(vodstream: LoadedWorkflow) -> None:
    """Folders, storages, names and the audio of the source."""
    given = {**GIVEN, "source_storage": "S3", "encode_source": "true", "encrypted": "false", "file_parameters": None}
    checked = vodstream.parameters.check(given, strict=True)
    assert not checked.faults
    expected = {
        "output_folder": "in/film", "destination_storage": "S3", "extract_audio": True, "mp4_filename": "film.mp4",
        "drm": ["clear"], "enable_drm": False, "trickplay_thumbnails": False, "encoding_profile": "H264",
    }  # fmt: skip
    assert {name: checked.arguments[name] for name in expected} == expected


@pytest.mark.parametrize(
    "more",
    [
        {"drm": []},
        {"encoding_mode": "FAST"},
        {"encoding_mode": "MULTIPASS"},
        {"create_dref": False},
        {"encoding_region": "eu"},
        {"enable_drm": False},
    ],
)
def test_what_has_no_counterpart_is_accepted(vodstream: LoadedWorkflow, more: dict[str, Any]) -> None:
    """The original's options that mean nothing here are noted by the tasks."""
    assert not vodstream.parameters.check({**GIVEN, **more}, strict=True).faults


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"track_properties": {"video": []}}, "unknown parameter 'track_properties.video'"),
        ({"track_properties": {"audio": [{"language": "eng"}]}}, "track_properties"),
        ({"mp4_filename": "a/b.mp4"}, "mp4_filename is wrong: a file name has no slash"),
        ({"thumbnail_time": "1:75"}, "thumbnail_time is wrong: expected a time"),
        ({"source_folder": "../x"}, "source_folder is wrong: the path must not contain '..'"),
    ],
)
def test_what_cannot_be_done_is_refused_once(vodstream: LoadedWorkflow, more: dict[str, Any], message: str) -> None:
    """One fault each, in words."""
    (fault,) = vodstream.parameters.check({**GIVEN, **more}, strict=True).faults
    assert fault.message.startswith(message)


def test_the_dry_run_shows_which_way_a_job_goes(vodstream: LoadedWorkflow) -> None:
    """Encoding and packaging as it is exclude each other."""
    for encode, skipped in ((True, "remux"), (False, "transcode")):
        checked = vodstream.parameters.check({**GIVEN, "encode_source": encode}, strict=True)
        states = {task.name: task.state for task in explain(vodstream.workflow, checked.arguments, CelEvaluator())}
        assert states[skipped] == "skipped"
        assert states["publish"] == "runs"
