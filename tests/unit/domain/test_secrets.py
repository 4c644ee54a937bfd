"""What of a JSON value is secret, and how it is replaced."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.domain.masking import MASK, mask
from taskengine.domain.sealed import FIELD, has_sealed, marks, opened, piece, sealed, veiled, whole
from taskengine.domain.secrets import Scrubber, hide_secrets

SCHEMA: Mapping[str, Any] = {
    "properties": {
        "licence": {"type": "string", "writeOnly": True},
        "old_licence": {"x-alias-of": "licence"},
        "key": {"type": "string"},
        "clips": {"items": {"properties": {"content": {"writeOnly": True}, "name": {}}}},
        "pair": {"prefixItems": [{}, {"$ref": "#/$defs/hidden"}]},
        "either": {"anyOf": [{"type": "null"}, {"properties": {"pin": {"writeOnly": True}}}]},
        "by_file": {"additionalProperties": {"properties": {"pin": {"writeOnly": True}}}},
        "free": {"type": "object"},
    },
    "patternProperties": {"^x-": {"writeOnly": True}},
    "$defs": {"hidden": {"writeOnly": True}},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def seal(text: str) -> str:
    """No seal at all: base64."""
    return "k1." + base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def open_(text: str) -> str:
    """Its inverse."""
    encoded = text.partition(".")[2]
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"licence": "a"}, {"licence": "?"}),
        ({"licence": {"deep": [1]}}, {"licence": "?"}),
        ({"licence": None}, {"licence": None}),
        ({"old_licence": "a"}, {"old_licence": "?"}),
        ({"key": "the schema knows it, and it is none"}, {"key": "the schema knows it, and it is none"}),
        ({"clips": [{"content": 1, "name": "n"}, {}]}, {"clips": [{"content": "?", "name": "n"}, {}]}),
        ({"pair": ["a", "b"]}, {"pair": ["a", "?"]}),
        ({"either": {"pin": 7}}, {"either": {"pin": "?"}}),
        ({"by_file": {"a.mp4": {"pin": 7}}}, {"by_file": {"a.mp4": {"pin": "?"}}}),
        ({"free": {"api_key": "a", "other": "b"}}, {"free": {"api_key": "?", "other": "b"}}),
        ({"unknown_token": ["a"], "unknown": "b"}, {"unknown_token": "?", "unknown": "b"}),
        ({"x-y": "a"}, {"x-y": "?"}),
    ],
)
def test_secrets_are_found_by_the_schema_and_else_by_name(value: Any, expected: Any) -> None:
    """Through aliases, references, items and alternatives; what the schema knows is not judged by its name."""
    assert hide_secrets(value, SCHEMA, lambda _: "?") == expected


def test_credentials_in_urls_are_secrets_wherever_they_are() -> None:
    """Userinfo and query values that are named so; the rest of the URL stays."""
    value = {"key": ["see https://me:pass@h.example/x?token=abc&n=1"]}
    hidden = hide_secrets(value, SCHEMA, lambda _: "?", lambda text: text.upper())
    assert hidden == {"key": ["see https://me:PASS@h.example/x?token=ABC&n=1"]}


@given(JSON)
def test_what_is_sealed_opens_again(value: Any) -> None:
    """Any JSON value, alone and within others."""
    assert opened({"a": [sealed(value, seal)], "b": 1}, open_) == {"a": [value], "b": 1}


@given(st.text(), st.text())
def test_a_piece_of_a_text_opens_in_its_place(before: str, secret: str) -> None:
    """What is around it stays, and sealing twice changes nothing."""
    text = f"{before}{piece(piece(secret, seal), seal)}/x"
    assert opened(text, open_) == f"{before}{secret}/x"
    assert veiled(text, MASK) == f"{before}{MASK}/x"
    assert mask({"note": text})["note"].endswith(f"{MASK}/x")


def test_messages_carry_texts_with_secrets_sealed_as_a_whole() -> None:
    """The contract knows `{"$sealed": …}` alone."""
    url = f"https://me:{piece('pass', seal)}@h.example/"
    on_wire = whole({"urls": [url], "plain": "x", "done": sealed("y", seal)}, seal)
    assert on_wire["plain"] == "x"
    assert on_wire["urls"] == [sealed(url, seal)]
    assert opened(on_wire, open_) == {"urls": ["https://me:pass@h.example/"], "plain": "x", "done": "y"}


def test_marks_say_where_something_looks_sealed() -> None:
    """So that nobody can hand in what somebody else's job has sealed."""
    value = {"a/b": [{FIELD: "k.x"}], "c": "see ~sealed.k.x~", "d": "sealed"}
    assert list(marks(value, "/parameters")) == ["/parameters/a~1b/0", "/parameters/c"]
    assert has_sealed(value)
    assert not has_sealed({"d": ["sealed", None, 1]})


@pytest.mark.parametrize(
    "shown",
    ["001122AABBCCDDEEFF00112233445566", "001122aabbccddeeff00112233445566", "00-1122aabbccddeeff00112233445566",
     "ABEiqrvM3e7/ABEiM0RVZg=="],
)  # fmt: skip
def test_a_scrubber_knows_a_key_in_its_usual_spellings(shown: str) -> None:
    """Either case, with dashes, and as base64."""
    scrubber = Scrubber(["00-1122AABBCCDDEEFF00112233445566"])
    assert scrubber.text(f"--keys key={shown}:x") == f"--keys key={MASK}:x"


@pytest.mark.parametrize(
    "secret", ["0011:001122AABBCCDDEEFF00112233445566", "0011:ABEiqrvM3e7/ABEiM0RVZg==", "ABEiqrvM3e7/ABEiM0RVZg=="]
)
def test_a_scrubber_knows_a_key_that_has_its_id_before_it_or_was_written_otherwise(secret: str) -> None:
    """As keys of jobs may be given; programs get the key alone, and in digits."""
    shown = "key 001122aabbccddeeff00112233445566 or ABEiqrvM3e7/ABEiM0RVZg=="
    assert Scrubber([secret]).text(shown) == f"key {MASK} or {MASK}"


def test_a_scrubber_leaves_alone_what_is_too_short_to_be_a_secret() -> None:
    """A seed of `1` is in every number."""
    scrubber = Scrubber(["1", ""])
    assert not scrubber
    assert scrubber.text("1080p") == "1080p"
