"""Task Engine: an engine that makes video on demand."""

__version__ = "0.1.0"
