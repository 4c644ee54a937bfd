"""Handlers: one module per kind of task. Imported as `taskengine.handlers`, never as `handlers`."""

if __name__ != "taskengine.handlers":
    raise ImportError("import it as taskengine.handlers: a second copy of every class would follow")
