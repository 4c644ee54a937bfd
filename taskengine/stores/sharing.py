"""How the engines on one database stand to each other."""

from __future__ import annotations

from enum import StrEnum


class Sharing(StrEnum):
    """What an opened store claims of its database."""

    NONE = "none"  # nothing: whoever looks, migrates or tests
    SHARED = "shared"  # it is an engine beside others, which meet on one broker
    ALONE = "alone"  # it is an engine with a broker of its own: it takes every task for its own workers'
