"""The adapters that each contract is tried on."""

from tests.support.postgres import postgres
from tests.support.stores import database, store

__all__ = ["database", "postgres", "store"]
