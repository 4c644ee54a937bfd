-- The trace that a job was submitted in goes on in its tasks and callbacks.
ALTER TABLE jobs ADD COLUMN traceparent TEXT;
