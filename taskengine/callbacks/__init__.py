"""Adapters that call clients' endpoints: callbacks and semaphores."""
