"""Measurements of encoding: `scripts/bench encode` and `scripts/bench vod`."""
