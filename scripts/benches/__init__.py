"""The measurements of `scripts/bench`, a module each; what they share is in `results`, `jobs`, `systems` and `usage`."""
