"""Tests that need something outside of the project: a broker, a database, a browser."""

from __future__ import annotations

import pytest

MISSING = "missing service"


def require_service(name: str, reason: str | None) -> None:
    """Skip the test because `reason` says why the service cannot be used; None is that it can.

    With CI=true such a skip is a failure.
    """
    if reason is not None:
        pytest.skip(f"{MISSING}: {name}: {reason}")
