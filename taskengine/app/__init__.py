"""The composition root: settings become adapters, adapters become an engine, and the engine runs."""

from taskengine.app.engine import Engine, engine
from taskengine.app.processes import serve, work

__all__ = ["Engine", "engine", "serve", "work"]
