"""The configuration: one frozen tree, parsed once at the edge, failing with all faults at once."""

from taskengine.settings.load import load_settings
from taskengine.settings.tree import (
    CallbackSettings,
    EngineSettings,
    HealthSettings,
    HttpSettings,
    KeyProviderSettings,
    LogSettings,
    Settings,
    StorageSettings,
    ToolSettings,
)

__all__ = [
    "CallbackSettings",
    "EngineSettings",
    "HealthSettings",
    "HttpSettings",
    "KeyProviderSettings",
    "LogSettings",
    "Settings",
    "StorageSettings",
    "ToolSettings",
    "load_settings",
]
