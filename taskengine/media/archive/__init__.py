"""Archives of live packagers: which of their segments a clip needs, where these are shared, and the manifests over them."""
