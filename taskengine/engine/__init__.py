"""Use cases: what the engine does with jobs, tasks and callbacks, through ports alone."""
