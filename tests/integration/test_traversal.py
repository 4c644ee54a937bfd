"""No field of a workflow that names a file or folder leads out of its root: not by its text, and not by what lies there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import InvalidRequest
from taskengine.engine.submissions import Submission
from taskengine.handlers import load_handlers
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator
from tests.support.engine import Bench, bench, settings_for
from tests.support.receiver import CallbackReceiver

FORMATS = {"logical-path", "logical-path-or-root", "file-name", "image-name"}
# Every parameter of the contract that names a file or folder.
NAMES = {
    "source_folder", "output_folder", "folder", "local_source", "mp4_filename", "gif_filename", "image_filename",
    "filename_prefix", "target_filename", "target_file_name", "output_file", "custom_manifest_name",
    "custom_active_manifest_name",
}  # fmt: skip
HOSTILE = ["../x", "a/../../x", "..", "a\\..\\x", "C:/x", "a\0b", "con.mp4", "x" * 256, "a/./b", "\u0085"]

Place = tuple[str, ...]  # of a field in the parameters; "*" is an item of an array


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """The workflows that come with the project."""
    return Catalog(CelEvaluator(), load_handlers())


def _fields(schema: Mapping[str, Any], place: Place = ()) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for name, inner in (schema.get("properties") or {}).items():
        yield (*place, name), inner
        yield from _fields(inner, (*place, name))
    if isinstance(items := schema.get("items"), Mapping):
        yield (*place, "*"), items
        yield from _fields(items, (*place, "*"))


def _path_fields(schema: Mapping[str, Any]) -> list[Place]:
    return [place for place, inner in _fields(schema) if inner.get("format") in FORMATS]


def _with(place: Place, value: str) -> Any:
    """Parameters with a value at a place and nothing else."""
    if not place:
        return value
    inner = _with(place[1:], value)
    return [inner] if place[0] == "*" else {place[0]: inner}


def _pointer(place: Place) -> str:
    return "/parameters/" + "/".join("0" if part == "*" else part for part in place)


def test_every_field_that_names_a_file_is_known_to_be_one(catalog: Catalog) -> None:
    """By its format: else the suite below would not see it."""
    assert len(catalog.names("")) >= 14
    for name in catalog.names(""):
        loaded = catalog.get(name, "")
        assert loaded is not None
        for place, inner in _fields(loaded.workflow.schema):
            if place[-1] in NAMES and "x-alias-of" not in inner:
                assert inner.get("format") in FORMATS, f"{name}: {'.'.join(place)}"
        if name == "asset_delete":
            assert ("files", "*") in _path_fields(loaded.workflow.schema)


def test_every_path_field_of_every_workflow_refuses_what_leads_out(catalog: Catalog) -> None:
    """At submission, with the field's name."""
    tried = 0
    for name in catalog.names(""):
        loaded = catalog.get(name, "")
        assert loaded is not None
        for place in _path_fields(loaded.workflow.schema):
            for value in HOSTILE:
                checked = loaded.parameters.check(_with(place, value), strict=False)
                named = [fault for fault in checked.faults if fault.path == _pointer(place)]
                assert named, f"{name}: {'.'.join(place)} takes {value!r}"
                tried += 1
    assert tried > 200


# ------------------------------------------------------------------------------------------------------- what lies there


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Bench]:
    """An engine with the workflows of the project, whose tries come at once."""
    async with CallbackReceiver() as receiver:
        settings = settings_for(tmp_path, workflows_dirs=[], **{"engine.retry_limit": 0})
        async with bench(settings, receiver) as running:
            yield running


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beyond the roots, with what must stay."""
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    for name in ("secret.mp4", "deep/film.m3u8"):
        (folder / name).write_text("secret of the outside")
    return folder


async def _error(world: Bench, workflow: str, **parameters: Any) -> str:
    """How a job fails; "" where it does not."""
    given = {"content_id": "film", "rest_endpoints": [f"{world.receiver.url}/cb"], **parameters}
    answer = await world.engine.jobs.submit(Submission("demo", workflow, given))
    return (await world.ended(int(answer["id"]), 30)).error or ""


def _kept(outside: Path) -> bool:
    files = {str(path.relative_to(outside)): path.read_text() for path in outside.rglob("*") if path.is_file()}
    return files == dict.fromkeys(("secret.mp4", "deep/film.m3u8"), "secret of the outside")


async def test_links_lead_nowhere(world: Bench, tmp_path: Path, outside: Path) -> None:
    """As a source folder, as one of its files, as an output folder, and as what is to be deleted."""
    storage = tmp_path / "data" / "storage"
    for root in ("source", "output"):
        (storage / root / "linked").symlink_to(outside)
        (storage / root / "within").mkdir()
        (storage / root / "within" / "film.mp4").symlink_to(outside / "secret.mp4")
    for folder in ("linked", "linked/deep"):
        assert "links are not followed" in await _error(world, "vodstream", source_folder=folder)
        assert "links are not followed" in await _error(world, "voddelete", folder=folder)
    assert "is empty or is not there" in await _error(world, "vodstream", source_folder="within")
    assert "links are not followed" in await _error(world, "asset_delete", files=["linked/secret.mp4"])
    assert await _error(world, "asset_delete", files=["within/film.mp4"])  # a link is no file of an asset
    assert "no files" in await _error(world, "voddelete", folder="within")
    assert _kept(outside)
    assert (storage / "output" / "linked").is_symlink()


async def test_deleting_a_folder_leaves_those_whose_names_begin_alike(
    world: Bench, tmp_path: Path, outside: Path
) -> None:
    """`a` is not `ab`, nor `a b`; a link within it goes, what it leads to stays."""
    output = tmp_path / "data" / "storage" / "output"
    for folder in ("a", "ab", "a b", "a.b", "A", "b/a"):
        (output / folder).mkdir(parents=True)
        (output / folder / "x.mp4").write_text("x")
    (output / "a" / "link").symlink_to(outside)
    assert await _error(world, "voddelete", folder="/a/") == ""
    assert sorted(path.name for path in output.iterdir()) == ["A", "a b", "a.b", "ab", "b"]
    assert (output / "b" / "a" / "x.mp4").exists()
    assert _kept(outside)


async def test_a_root_is_never_deleted(world: Bench, tmp_path: Path) -> None:
    """Neither named as nothing nor as slashes; an empty list of files is refused."""
    output = tmp_path / "data" / "storage" / "output"
    (output / "x.mp4").write_text("x")
    for workflow, parameters in (
        ("voddelete", {"folder": ""}), ("voddelete", {"folder": "//"}), ("voddelete", {"folder": "."}),
        ("asset_delete", {"files": []}), ("asset_delete", {"files": [""]}), ("asset_delete", {"files": ["/"]}),
    ):  # fmt: skip
        with pytest.raises(InvalidRequest):
            await _error(world, workflow, **parameters)
    assert (output / "x.mp4").exists()


async def test_special_files_are_no_files(world: Bench, tmp_path: Path) -> None:
    """A pipe with a film's name neither hangs a job nor is deleted."""
    for root in ("source", "output"):
        folder = tmp_path / "data" / "storage" / root / "odd"
        folder.mkdir()
        os.mkfifo(folder / "film.mp4")
    assert "is empty or is not there" in await _error(world, "vodstream", source_folder="odd")
    assert "no files" in await _error(world, "voddelete", folder="odd")
    assert (tmp_path / "data" / "storage" / "output" / "odd" / "film.mp4").is_fifo()
