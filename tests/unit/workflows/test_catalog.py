"""The catalog: layers, clients, reloads; and the built-in workflows themselves."""

import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from taskengine.domain.errors import WorkflowError
from taskengine.domain.flowchart import flowchart
from taskengine.handlers import load_handlers
from taskengine.handlers.debug import debug_handlers
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.explain import explain
from taskengine.workflows.expressions import CelEvaluator
from taskengine.workflows.file_schema import workflow_file_schema
from tests.support.workflows import load_text

HANDLERS = {handler.name: handler for handler in debug_handlers(shell=False)}


def write(path: Path, text: str) -> Path:
    """Write a file that is newer than it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))  # seen as changed whatever the clock's grain
    return path


def one_step(name: str, description: str) -> str:
    """The smallest workflow file."""
    return f"name: {name}\ndescription: {description}\nsteps: {{a: {{handler: debug.noop}}}}\n"


def catalog(*directories: Path) -> Catalog:
    """A catalog of some directories, without the built-in workflows."""
    return Catalog(CelEvaluator(), HANDLERS, directories, built_in=None)


def described(loaded: Catalog, name: str, client: str = "demo") -> str | None:
    """A workflow's description, as a client sees it."""
    found = loaded.get(name, client)
    return found.workflow.description if found else None


def test_a_later_directory_overrides_by_name_and_a_client_has_its_own(tmp_path: Path) -> None:
    """Client before directories, later before earlier."""
    write(tmp_path / "a" / "x.yaml", one_step("one", "first"))
    write(tmp_path / "a" / "y.yaml", one_step("two", "first"))
    write(tmp_path / "b" / "z.yml", one_step("one", "second"))
    write(tmp_path / "a" / "clients" / "acme" / "x.yaml", one_step("one", "acme's"))
    write(tmp_path / "a" / "clients" / "acme" / "own.yaml", one_step("own", "acme's"))
    loaded = catalog(tmp_path / "a", tmp_path / "b")
    assert not loaded.faults
    assert (described(loaded, "one"), described(loaded, "two")) == ("second", "first")
    assert described(loaded, "one", "acme") == "acme's"
    assert described(loaded, "own") is None
    assert list(loaded.names("acme")) == ["one", "own", "two"]
    assert list(loaded.names("demo")) == ["one", "two"]


async def test_a_reload_takes_what_changed_and_keeps_the_last_good_version(tmp_path: Path) -> None:
    """A faulty file says so and takes nothing away; one that is gone is gone."""
    path = write(tmp_path / "x.yaml", one_step("one", "first"))
    loaded = catalog(tmp_path)
    write(path, "name: one\nsteps: {a: {handler: debug.nop}}\n")
    write(tmp_path / "y.yaml", one_step("two", "new"))
    (fault,) = await loaded.reload()
    assert fault.path == f"{path}:2"
    assert (described(loaded, "one"), described(loaded, "two")) == ("first", "new")
    write(path, one_step("one", "mended"))
    assert not await loaded.reload()
    assert described(loaded, "one") == "mended"
    path.unlink()
    await loaded.reload()
    assert described(loaded, "one") is None


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    """Its workflow is the same object."""
    write(tmp_path / "x.yaml", one_step("one", "first"))
    loaded = catalog(tmp_path)
    before = loaded.get("one", "demo")
    loaded.load()
    assert loaded.get("one", "demo") is before


def test_two_files_of_one_name_and_unreadable_ones_are_told(tmp_path: Path) -> None:
    """The first stays."""
    write(tmp_path / "x.yaml", one_step("one", "first"))
    write(tmp_path / "y.yaml", one_step("one", "second"))
    (tmp_path / "z.yaml").write_bytes(b"\xff\xfe\xff")
    loaded = catalog(tmp_path, tmp_path / "gone")
    messages = " ".join(fault.message for fault in loaded.faults)
    assert "that of x.yaml too" in messages
    assert "cannot be read" in messages
    assert "no such directory" in messages
    assert described(loaded, "one") == "first"


def test_a_file_can_be_judged_alone(tmp_path: Path) -> None:
    """What `workflows validate` calls."""
    assert catalog().judge(write(tmp_path / "x.yaml", one_step("one", "first"))).workflow.name == "one"
    with pytest.raises(WorkflowError):
        catalog().judge(tmp_path / "gone.yaml")


def test_stored_definitions_are_compiled_once(tmp_path: Path) -> None:
    """By their source."""
    write(tmp_path / "x.yaml", one_step("one", "first"))
    loaded = catalog(tmp_path)
    found = loaded.get("one", "demo")
    assert found is not None
    assert loaded.compile(found.workflow.source) == found.workflow
    assert loaded.compile(found.workflow.source) is loaded.compile(found.workflow.source)


def test_the_graph_is_drawn_in_both_languages() -> None:
    """Needs are edges; clean-up hangs on failure."""
    workflow = load_text("""
        name: x
        steps:
          a: {handler: debug.noop}
          b: {handler: debug.noop, needs: [a], optional: true}
        on_failure: {tidy: {handler: debug.noop}}
    """).workflow
    assert "s_a --> s_b" in flowchart(workflow)
    assert "s_failure --> s_tidy" in flowchart(workflow)
    assert '"a" -> "b"' in flowchart(workflow, "dot")


def test_explain_tells_what_the_parameters_decide() -> None:
    """Skipped, expanded and open tasks; inputs where they are known."""
    loaded = load_text("""
        name: x
        parameters: {properties: {list: {type: array}, on: {type: boolean}}}
        steps:
          a: {handler: debug.noop, if: "${{ parameters.on }}"}
          b: {handler: debug.noop, foreach: "${{ parameters.list }}", with: {n: "${{ item }}", id: "${{ job.id }}"}}
          c: {handler: debug.noop, needs: [a], if: "${{ steps.a.state == 'completed' }}", timeout: 90}
          d: {handler: debug.noop, needs: [a], foreach: "${{ steps.a.outputs.l }}"}
    """)
    checked = loaded.parameters.check({"list": ["p", "q"], "on": "false"}, strict=True)
    tasks = explain(loaded.workflow, checked.arguments, CelEvaluator())
    assert [(task.name, task.index, task.state) for task in tasks] == [
        ("a", None, "skipped"), ("b", 0, "runs"), ("b", 1, "runs"), ("c", None, "open"), ("d", None, "runs"),
    ]  # fmt: skip
    assert tasks[2].inputs == {"n": "q", "id": "${{ job.id }}"}
    assert tasks[3].timeout == "90s"
    assert "one task per item" in tasks[4].note


def test_the_file_schema_is_one_and_fits_the_built_in_files() -> None:
    """Editors check by it what the loader checks by it."""
    Draft202012Validator.check_schema(workflow_file_schema())


PUBLISHED = [
    "asset_delete", "build_thumbnails", "capture_frame", "createmp4", "drmswitch", "generate_gif",
    "mediatailor_channel_assembly", "mediatailor_channel_state", "trickplay", "vodcapture", "voddelete", "vodnpvr",
    "vodremix",
]  # fmt: skip


@pytest.fixture(scope="module")
def built_in() -> Catalog:
    """The catalog of the built-in workflows."""
    return Catalog(CelEvaluator(), load_handlers())


@pytest.mark.parametrize("name", ["vodcapture", "vodnpvr", "vodremix", "mediatailor_channel_assembly"])
def test_a_clip_that_ends_before_it_starts_is_refused(built_in: Catalog, name: str) -> None:
    """When the job is submitted, not when it runs."""
    loaded = built_in.get(name, "demo")
    assert loaded is not None
    what = {"capture_id": "c"} if name == "vodnpvr" else {"source": "http://h/x.m3u8"}
    clips = [{**what, "start": "2026-01-30T20:00:02Z", "end": f"2026-01-30T20:00:0{end}Z"} for end in (3, 1)]
    given = {"content_id": "c", "clips": clips, **({} if "channel" in name else {"output_folder": "c"})}
    assert [fault.path for fault in loaded.parameters.check(given, strict=True).faults] == ["/parameters/clips/1/end"]


def test_the_published_workflows_are_there(built_in: Catalog) -> None:
    """Each loads, and tells what its parameters mean."""
    assert not built_in.faults
    for name in PUBLISHED:
        loaded = built_in.get(name, "demo")
        assert loaded is not None
        assert loaded.workflow.published
        assert all("description" in parameter for parameter in loaded.workflow.schema["properties"].values())


def test_build_thumbnails_takes_its_older_names(built_in: Catalog) -> None:
    """As the published documents have them."""
    loaded = built_in.get("build_thumbnails", "demo")
    assert loaded is not None
    given = {"content_id": "c", "source": "https://h/x.m3u8", "target_file_name": "t", "seconds_between": "5"}
    checked = loaded.parameters.check(given, strict=True)
    assert not checked.faults
    assert not checked.warnings
    assert checked.arguments["filename_prefix"] == "t"
    assert checked.arguments["preview_thumbnails_interval"] == 5
    assert checked.arguments["output_folder"] == "c"
