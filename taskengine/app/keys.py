"""The key providers of a worker, from the settings."""

from __future__ import annotations

from taskengine import __version__
from taskengine.keys import KeyProviders, KeysPer, ProviderConfig, Service
from taskengine.settings import KeyProviderSettings, Settings

KEY_SEED = "key-seed"  # in the data directory


def build_key_providers(settings: Settings, *, generate: bool) -> KeyProviders:
    """The key providers that the configuration names. `generate`: a seed that is nowhere configured is made, and kept in
    the data directory."""
    made = {name: _provider(each, settings, generate=generate) for name, each in settings.key_providers.items()}
    return KeyProviders(made, f"task-engine/{__version__}")


def _provider(config: KeyProviderSettings, settings: Settings, *, generate: bool) -> ProviderConfig:
    kept = settings.data_dir / KEY_SEED
    headers = {name: value.get_secret_value() for name, value in config.headers.items()}
    uris = {"fairplay": config.fairplay_key_uri, "aes": config.aes_key_uri, "cenc": config.clear_key_uri}
    return ProviderConfig(
        config.kind,
        KeysPer(config.keys_per),
        seed=config.seed.get_secret_value() if config.seed else None,
        seed_file=config.seed_file,
        generated_seed=kept if generate or kept.exists() else None,
        keys_file=config.keys_file,
        service=Service(config.url, headers, config.private_key_file, config.certificate_file) if config.url else None,
        uris={system: template for system, template in uris.items() if template},
        playready_la_url=config.playready_la_url,
    )
