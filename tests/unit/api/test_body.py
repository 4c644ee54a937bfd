"""Strict JSON and the kinds of values that clients send."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.api.body import parse_json, parse_object, pointer
from taskengine.api.fields import flag, http_url, read_id, seconds, time, whole
from taskengine.api.models import (
    ClientFields,
    JobFields,
    PatchFields,
    SettingFields,
    judge,
    read,
    spelt,
    unknown_fields,
)
from taskengine.api.services import HttpLimits
from taskengine.domain.errors import InvalidRequest

LIMITS = HttpLimits()
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def refusal(call: Callable[[], object]) -> Exception | None:
    """What a call raises; None where it raises nothing."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  # its kind is what the test is about
        return error
    return None


@given(JSON)
def test_every_json_value_is_read_as_it_is(value: Any) -> None:
    """Nothing is lost or changed."""
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), LIMITS) == value


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_are_an_object_or_an_invalid_request(data: bytes) -> None:
    """There is no third way."""
    error = refusal(lambda: parse_object(data, LIMITS))
    assert error is None or (isinstance(error, InvalidRequest) and str(error))


def test_every_fault_is_found_with_its_path() -> None:
    """All at once, in order."""
    body = b'{"a": 1, "a": NaN, "b/c": [99999999999999999999, {"d": "\\u0000"}], "e": 1e999}'
    with pytest.raises(InvalidRequest) as caught:
        parse_json(body, LIMITS)
    assert [fault.path for fault in caught.value.faults] == ["/a", "/a", "/b~1c/0", "/b~1c/1/d", "/e"]


def test_depth_is_counted_from_the_body() -> None:
    """The limit itself is allowed."""
    limits = HttpLimits(depth=3)
    assert parse_json(b'{"a": [[]]}', limits) == {"a": [[]]}
    with pytest.raises(InvalidRequest, match="/a/0/0: is nested too deeply"):
        parse_json(b'{"a": [[[]]]}', limits)


def test_pointers_are_escaped() -> None:
    """As JSON pointers are."""
    assert pointer(pointer("/a", "b/c~d"), 0) == "/a/b~1c~0d/0"


@given(
    st.sampled_from([JobFields, PatchFields, SettingFields, ClientFields]),
    st.dictionaries(
        st.sampled_from([*JobFields.model_fields, *PatchFields.model_fields, "name", "setting", "role", "config"])
        | st.text(),
        ANYTHING,
        max_size=6,
    ),
)
def test_any_fields_are_read_or_refused_with_their_faults(model: Any, body: dict[str, Any]) -> None:
    """Whatever is in them."""
    fields, _ = spelt(body, "")
    error = refusal(lambda: read(model, fields))
    assert error is None or (isinstance(error, InvalidRequest) and all(fault.message for fault in error.faults))


@given(ANYTHING)
def test_readers_refuse_with_value_errors_alone(value: Any) -> None:
    """Pydantic gathers nothing else."""
    for reader in (flag, whole(1, 10), time, seconds, http_url):
        error = refusal(partial(reader, value))
        assert error is None or (isinstance(error, ValueError) and str(error))


@given(st.text())
def test_an_id_of_a_path_is_a_canonical_number_of_64_bits(text: str) -> None:
    """Everything else is no id."""
    found = read_id(text)
    assert found is None or (str(found) == text and 0 <= found < 2**63)


def test_coercions_are_those_of_the_contract() -> None:
    """Texts for booleans and numbers, 6.0 for 6; no booleans for numbers, no numbers for booleans."""
    assert (flag("True"), flag("false"), whole(1, 9)("6"), whole(1, 9)(6.0), seconds("2m")) == (True, False, 6, 6, 120)
    for reader, value in ((flag, 1), (flag, "yes"), (whole(0, 9), True), (whole(0, 9), "1.0"), (whole(0, 9), "")):
        with pytest.raises(ValueError, match="must be"):
            reader(value)


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://a", "http://", "http:///a", "http://a:0/", "http://a:99999/", "http://a b/", "http://[::1", "//a"],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    """With a reason."""
    with pytest.raises(ValueError, match="URL"):
        http_url(url)


def test_misspelt_semaphores_are_put_right() -> None:
    """Two names that disagree are a fault; two that agree are none."""
    assert spelt({"sempahore_url": "a"}, "/job") == ({"semaphore_url": "a"}, [])
    assert spelt({"sempahore_url": "a", "semaphore_url": "a"}, "/job") == ({"semaphore_url": "a"}, [])
    assert [fault.path for fault in spelt({"sempahore_url": "a", "semaphore_url": "b"}, "/job")[1]] == [
        "/job/sempahore_url"
    ]


def test_unknown_and_missing_fields_are_named() -> None:
    """With the nearest name."""
    assert [fault.message for fault in unknown_fields(JobFields, {"priorty": 1}, "/job")] == [
        "unknown field 'priorty'; did you mean 'priority'?"
    ]
    _, faults = judge(JobFields, {}, "/job")
    assert [(fault.path, fault.message) for fault in faults] == [("/job/workflow", "is required")]
