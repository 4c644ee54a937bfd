"""Parameters: coercion, defaults, faults."""

import json
from typing import Any

import pytest

from taskengine.ports import Checked
from taskengine.workflows.expressions import CelEvaluator
from taskengine.workflows.parameters import compile_schema
from tests.support.workflows import PROPERTIES


def check(parameters: dict[str, Any], *, strict: bool = True, required: tuple[str, ...] = ()) -> Checked:
    """Judge some parameters by the schema of these tests."""
    schema = {"type": "object", "required": list(required), "properties": PROPERTIES, "additionalProperties": False}
    return compile_schema(schema, CelEvaluator()).check(parameters, strict=strict)


def faults(parameters: dict[str, Any], **options: Any) -> dict[str, str]:
    """Their faults by path."""
    return {fault.path: fault.message for fault in check(parameters, **options).faults}


@pytest.mark.parametrize(
    ("name", "given", "typed"),
    [
        ("flag", "true", True),
        ("flag", "False", False),
        ("count", "12", 12),
        ("count", "6.0", 6),
        ("count", 6.0, 6),
        ("rate", "2.5", 2.5),
        ("rate", "3", 3),
        ("either", "3", "3"),
        ("content_id", "true", "true"),
        ("custom_data", {"a": "true", "b": "1", "c": None}, {"a": "true", "b": "1", "c": None}),
        ("files", {"x.mp4": {"n": "1"}}, {"x.mp4": {"n": 1}}),
        ("folder", "//a///b/", "a/b"),
    ],
)
def test_strings_become_what_the_schema_wants_where_no_string_is_allowed(name: str, given: Any, typed: Any) -> None:
    """A "true" and decimal strings, in one place, by the schema's type."""
    checked = check({name: given})
    assert not checked.faults
    assert checked.arguments[name] == typed
    assert type(checked.arguments[name]) is type(typed)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("flag", "yes", 'flag must be true or false, not "yes"'),
        ("flag", 1, "flag must be true or false, not 1"),
        ("count", True, "count must be an integer, not true"),
        ("count", "6.5", 'count must be an integer, not "6.5"'),
        ("count", -1, "count must be at least 0, not -1"),
        ("rate", False, "rate must be a number, not false"),
        ("rate", "1e3", 'rate must be a number, not "1e3"'),
        ("content_id", "", "content_id must not be empty"),
        ("content_id", 7, "content_id must be a string, not 7"),
        ("storage", "s3", 'storage must be one of "local" or "S3", not "s3"'),
        ("clips", [], "clips must not be empty"),
        ("folder", "a/../b", "the path must not contain '..'"),
        ("folder", "/", "the path is empty"),
        ("secret", "abc", "secret does not match the pattern"),
    ],
)
def test_a_fault_names_the_field_and_the_fault(name: str, given: Any, message: str) -> None:
    """One sentence, at the field's JSON pointer."""
    assert message in faults({name: given})[f"/parameters/{name}"]


@pytest.mark.parametrize(
    ("name", "good", "wrong", "message"),
    [
        ("date", "2040-06-06", "2040-6-6", 'on is wrong: expected a date as 2040-06-06, not "2040-6-6"'),
        ("email", "a@b.example", "a.b.example", "expected an e-mail address"),
        ("ipv4", "192.0.2.1", "192.0.2", "expected an IPv4 address"),
        ("ipv6", "2001:db8::1", "2001:db8", "expected an IPv6 address"),
        ("uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08", "expected a UUID"),
        ("regex", "a+", "(", "expected a regular expression"),
        ("image-name", "a b.JPEG", "a.tiff", "expected a name that ends in .jpg, .png or .webp"),
        ("image-name", "a.webp", "a/b.png", "a file name has no slash"),
    ],
)
def test_formats_tell_a_right_value_from_a_wrong_one(name: str, good: str, wrong: str, message: str) -> None:
    """Those of JSON Schema, and our own."""
    compiled = compile_schema({"properties": {"on": {"type": "string", "format": name}}}, CelEvaluator())
    assert not compiled.check({"on": good}, strict=True).faults
    (fault,) = compiled.check({"on": wrong}, strict=True).faults
    assert message in fault.message


def test_a_secret_is_not_repeated_in_its_fault() -> None:
    """`writeOnly` values stay out of messages."""
    assert "abc" not in faults({"secret": "abc"})["/parameters/secret"]


def test_every_fault_is_told_at_once() -> None:
    """Not the first alone: nested, missing and unknown ones too."""
    found = faults(
        {"flag": "no", "clips": [{"start": "1:99", "surce": "x"}, {"source": "ftp://h/x"}], "cuont": 1},
        required=("content_id",),
    )
    assert set(found) == {
        "/parameters/flag", "/parameters/clips/0", "/parameters/clips/0/start", "/parameters/clips/0/surce",
        "/parameters/clips/1/source", "/parameters/cuont", "/parameters/content_id",
    }  # fmt: skip
    assert found["/parameters/clips/0"] == "one of source or sources is required in clips[0]"
    assert found["/parameters/content_id"] == "content_id is required"


UTC = "2026-01-30T20:00:0{0}.000{1}"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (3, 2),
        (2, 2),
        ("1:00", "59.9"),
        ("00:01:00", 60),
        (UTC.format(2, "Z"), UTC.format(1, "")),
        (UTC.format(2, "Z"),) * 2,
    ],
)
def test_a_time_that_is_not_after_the_one_before_it_is_a_fault(start: object, end: object) -> None:
    """`x-in-order`, in whatever form both are given."""
    [(path, message)] = faults({"clips": [{"source": "http://h/x", "start": start, "end": end}]}).items()
    assert path == "/parameters/clips/0/end"
    assert message == f"clips[0].end must be after start, {json.dumps(start)}, not {json.dumps(end)}"


@pytest.mark.parametrize(
    ("start", "end"),
    [(2, 3), ("59.9", "1:00"), (None, 0), (5, None), (UTC.format(9, "Z"), 1), (9, UTC.format(1, "Z")),
     (UTC.format(9, "Z"), "2026-01-30T20:00:01-01:00")],
)  # fmt: skip
def test_times_in_order_are_no_fault(start: object, end: object) -> None:
    """Nor are those that the stream alone can tell: one is not given, or one is a time of day and the other an offset."""
    assert not faults({"clips": [{"source": "http://h/x", "start": start, "end": end}]})


def test_a_time_that_is_none_has_its_own_fault_alone() -> None:
    """Which is told once."""
    assert list(faults({"clips": [{"source": "http://h/x", "start": "x", "end": 1}]})) == ["/parameters/clips/0/start"]


def test_an_unknown_parameter_is_a_warning_that_names_the_nearest_unless_strict() -> None:
    """Existing clients send such; they are left out of the arguments."""
    checked = check({"cuont": 1, "clips": [{"source": "http://h/x", "starts": 1}]}, strict=False)
    assert not checked.faults
    assert list(checked.warnings) == [
        "unknown parameter 'cuont'; did you mean 'count'?",
        "unknown parameter 'clips[0].starts'; did you mean 'start'?",
    ]
    assert "cuont" not in checked.arguments
    assert "did you mean 'count'?" in faults({"cuont": 1})["/parameters/cuont"]


def test_null_counts_as_not_given() -> None:
    """The default takes its place; a required one is missing."""
    assert check({"count": None}).arguments["count"] == 0
    assert "/parameters/content_id" in faults({"content_id": None}, required=("content_id",))
    assert "/parameters/clips/0" in faults({"clips": [{"source": None}]})


def test_defaults_that_are_templates_follow_each_other() -> None:
    """copy needs target, target needs folder."""
    arguments = check({"folder": "a/b", "content_id": "x", "storage": "S3"}).arguments
    assert arguments["target"] == "a/b"
    assert arguments["copy"] == "a/b/copy"
    assert arguments["file"] == "x.mp4"
    assert arguments["other_storage"] == "S3"


def test_a_template_whose_source_is_not_given_is_null() -> None:
    """No half-made values."""
    arguments = check({}).arguments
    assert arguments["target"] is None
    assert arguments["file"] is None
    assert arguments["other_storage"] is None


def test_what_a_template_gives_is_judged_too() -> None:
    """A default that comes out wrong names the template that it came of."""
    found = faults({"folder": "/".join("abcdefghijklmnop")})
    assert set(found) == {"/parameters/copy"}
    assert "(its default: ${{ parameters.target }}/copy)" in found["/parameters/copy"]


@pytest.mark.parametrize(
    ("content_id", "name"),
    [("a b", "a b.mp4"), ("a/b", "a_b.mp4"), ("..", "_...mp4"), ("x.y", "x.y.mp4"), ("c\\d", "c_d.mp4")],
)
def test_a_file_name_made_of_a_content_id_always_fits(content_id: str, name: str) -> None:
    """A client that did not ask for the file must not be refused for its name."""
    checked = check({"content_id": content_id})
    assert not checked.faults
    assert checked.arguments["file"] == name


def test_a_fault_is_not_repeated_by_what_derives_from_it() -> None:
    """folder alone is named, not target and copy."""
    assert set(faults({"folder": "../x"})) == {"/parameters/folder"}


def test_defaults_are_filled_in_nested_objects() -> None:
    """In arrays of objects, and by templates over the object."""
    clip = check({"clips": [{"source": "http://h/x", "exact": "true", "markers": {}}]}).arguments["clips"][0]
    assert clip == {"source": "http://h/x", "exact": True, "start": None, "end": None, "markers": {"exact": True}}


def test_a_client_cannot_send_expressions() -> None:
    """Only defaults of the schema are templates."""
    assert check({"folder": "${{ 1 }}"}).arguments["target"] == "${{ 1 }}"


def test_an_alias_is_its_canonical_name() -> None:
    """Faults keep the name that the client used; the canonical name wins where both are given."""
    assert check({"files_old": {"a": {"n": "1"}}}).arguments["files"] == {"a": {"n": 1}}
    assert faults({"files_old": 3}) == {"/parameters/files_old": "files_old must be an object, not 3"}
    both = check({"files_old": {"a": {}}, "files": {}})
    assert both.arguments["files"] == {}
    assert "files_old is ignored" in both.warnings[0]


@pytest.mark.parametrize(
    "time", [0, 12.5, "12.5", "1:30", "01:02:03.1234567", "2030-01-01T10:00:00Z", "2030-01-01T10:00:00.5"]
)
def test_positions_in_time_have_several_spellings(time: Any) -> None:
    """Seconds, m:ss.fff, hh:mm:ss.fff, UTC."""
    assert not faults({"clips": [{"source": "http://h/x", "start": time}]})


@pytest.mark.parametrize("time", [-1, "1:60", "1:60:00", "noon", "", "2030-13-01T10:00:00Z", True])
def test_what_is_no_position_in_time_is_refused(time: Any) -> None:
    """Each with a message."""
    assert faults({"clips": [{"source": "http://h/x", "start": time}]})


@pytest.mark.parametrize(
    "url", ["ftp://h/x", "http://", "h/x", "http://h/a b", "http://h:99999/", "http://" + "x" * 3000]
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    """http and https with a host alone."""
    assert faults({"clips": [{"source": url}]})
