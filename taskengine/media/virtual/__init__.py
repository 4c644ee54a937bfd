"""Virtual assets and channels: manifests over segments that lie where they lie. Nothing is fetched."""
