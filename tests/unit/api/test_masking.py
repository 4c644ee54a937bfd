"""Secrets never show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.domain.masking import is_secret_name, mask, mask_tail

SECRET = "s3cr3t-value-0123456789"
NAMES = ["key", "content_key", "contentKey", "api-key", "API_KEY", "playready_key", "seed", "token", "accessToken",
         "password", "secret", "client_secret", "Authorization", "cookie", "X-Auth-Key"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_field_with_a_secrets_name_is_hidden(name: str) -> None:
    """Whole, or but for its last four characters; inside lists and objects too."""
    assert is_secret_name(name)
    assert mask([{name: SECRET}]) == [{name: "****"}]
    assert mask_tail({"a": {name: [SECRET]}}) == {"a": {name: ["****6789"]}}


@pytest.mark.parametrize("name", ["key_id", "keyboard", "monkey", "content_id", "source", "tokens_used", "seeding"])
def test_other_fields_are_shown(name: str) -> None:
    """A key's id is no key."""
    assert mask({name: SECRET}) == {name: SECRET}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h/x?a=1", "https://u:****@h/x?a=1"),
        ("https://tok@h/x", "https://****@h/x"),
        ("https://h/x?token=abc&b=2#c", "https://h/x?token=****&b=2#c"),
        ("https://h/x?sv=1&sig=abc%3D", "https://h/x?sv=1&sig=****"),
        ("https://h/x?X-Amz-Signature=abc&X-Amz-Date=1", "https://h/x?X-Amz-Signature=****&X-Amz-Date=1"),
        ("see s3://k:s@b/c, then", "see s3://k:****@b/c, then"),
        ("https://h/p?q=user@example.com", "https://h/p?q=user@example.com"),
        ("no url at all", "no url at all"),
    ],
)
def test_credentials_of_urls_are_hidden(url: str, shown: str) -> None:
    """User, password and secret query parameters; nothing else changes."""
    assert mask({"source": url}) == {"source": shown}


def test_short_secrets_are_hidden_whole() -> None:
    """Four characters of six would say too much; nothing, true and false say nothing."""
    assert mask_tail({"key": "abc123", "seed": 12, "token": None, "secret": True, "password": ""}) == {
        "key": "****", "seed": "****", "token": None, "secret": True, "password": "",
    }  # fmt: skip


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["key", "a", "token"]) | st.text(), inner),
        max_leaves=10,
    )
)
def test_masking_twice_is_masking_once(value: Any) -> None:
    """What is masked can be masked again on its way."""
    assert mask(mask(value)) == mask(value)
    assert mask_tail(mask_tail(value)) == mask_tail(value)
