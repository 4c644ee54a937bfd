"""Streams of others: what their manifests name, which parts cover a time, how a rendition is chosen. Nothing is fetched."""
