-- What confines a worker's subprocesses, as it says.
ALTER TABLE workers ADD COLUMN sandbox TEXT NOT NULL DEFAULT '{}';
