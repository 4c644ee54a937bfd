-- Schedules that submit a job at each of their times. Times are UTC milliseconds.
CREATE TABLE recurring (
    client text NOT NULL REFERENCES clients ON DELETE CASCADE,
    name text NOT NULL,
    cron text NOT NULL,
    time_zone text NOT NULL,
    body text NOT NULL,
    active boolean NOT NULL,
    next_at bigint, -- NULL: there is no further time
    created_at bigint NOT NULL,
    last_at bigint,
    last_job_id bigint,
    last_error text,
    PRIMARY KEY (client, name)
);
