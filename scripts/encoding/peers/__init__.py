"""Programs that run in the environment of the peers (`.venv-peers`)."""
