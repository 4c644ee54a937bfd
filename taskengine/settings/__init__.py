"""The configuration: one frozen tree, parsed once at the edge, failing with all faults at once."""

from taskengine.settings.key_providers import KeyProviderSettings
from taskengine.settings.load import load_settings
from taskengine.settings.storages import StorageSettings
from taskengine.settings.tree import (
    CallbackSettings,
    EngineSettings,
    HealthSettings,
    HttpSettings,
    LogSettings,
    Settings,
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
