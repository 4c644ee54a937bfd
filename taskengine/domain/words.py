"""Help with misspelt names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name that is most like `name`, else ""."""
    names = sorted(known)
    matches = get_close_matches(name, names, 1) or get_close_matches(name.lower(), names, 1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
