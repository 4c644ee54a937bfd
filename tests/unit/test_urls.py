"""What is shown of URLs."""

from __future__ import annotations

import pytest

from taskengine.domain.urls import origin, redacted_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@example.com:8443/a/b?token=secret#secret", "https://example.com:8443/a/b"),
        ("http://example.com", "http://example.com"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://[", "(not a URL)"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    """User, password, query and fragment are left out."""
    assert redacted_url(url) == shown


def test_the_origin_is_scheme_host_and_port() -> None:
    """Paths, users and capitals do not make another server."""
    assert origin("HTTP://u:p@Example.com:80/a?b") == origin("http://example.com:80/c") == "http://example.com:80"
    assert not origin("http://[")
