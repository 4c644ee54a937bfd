"""The adapters that each contract is tried on."""

from tests.support.stores import database, store

__all__ = ["database", "store"]
