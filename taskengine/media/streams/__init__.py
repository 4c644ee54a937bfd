"""Streams of others: what their playlists name, which parts cover a time, how a rendition is chosen. Nothing is fetched."""
