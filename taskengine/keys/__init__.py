"""Key providers: where the content keys of protected assets come from."""

from taskengine.keys.granularity import KeysPer
from taskengine.keys.providers import KeyProviders, ProviderConfig
from taskengine.keys.service import Service

__all__ = ["KeyProviders", "KeysPer", "ProviderConfig", "Service"]
