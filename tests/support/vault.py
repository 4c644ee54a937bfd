"""A vault with a key of the test run."""

from __future__ import annotations

from taskengine.engine.vault import Vault
from taskengine.sealing import KeySealer, new_key, parse_keys

VAULT = Vault(KeySealer(parse_keys(new_key())))
