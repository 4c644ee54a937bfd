"""Workflows as files: loading and checking them, their expressions and the schemas of their parameters."""
