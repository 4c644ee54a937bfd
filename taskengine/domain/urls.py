"""What may be shown of a URL."""

from __future__ import annotations

from urllib.parse import urlsplit


def redacted_url(url: str) -> str:
    """`url` for logs: without user, password, query and fragment, where secrets live."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return f"{parts.scheme}://{_host(parts.netloc)}{parts.path}"


def origin(url: str) -> str:
    """Scheme, host and port of `url`: what its endpoints share a server by."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{_host(parts.netloc)}".lower()


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]
