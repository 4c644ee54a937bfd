"""Brokers: how messages travel between engine and workers. Imported as `taskengine.brokers`, never as `brokers`."""

if __name__ != "taskengine.brokers":
    raise ImportError("import it as taskengine.brokers: a second copy of every class would follow")

from taskengine.brokers.registry import open_broker

__all__ = ["open_broker"]
