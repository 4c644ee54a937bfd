-- Schedules that submit a job at each of their times. Times are UTC milliseconds.
CREATE TABLE recurring (
    client TEXT NOT NULL REFERENCES clients ON DELETE CASCADE,
    name TEXT NOT NULL,
    cron TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    body TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    next_at INTEGER, -- NULL: there is no further time
    created_at INTEGER NOT NULL,
    last_at INTEGER,
    last_job_id INTEGER,
    last_error TEXT,
    PRIMARY KEY (client, name)
) STRICT, WITHOUT ROWID;
