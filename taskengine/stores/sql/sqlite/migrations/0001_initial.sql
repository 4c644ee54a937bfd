-- Times are UTC milliseconds, durations seconds, flags 0 or 1; JSON is kept as the text that was written.

-- Ids are taken from here, so that none comes twice, whatever is deleted.
CREATE TABLE sequences (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO sequences (name, value) VALUES ('jobs', 0), ('tasks', 0);

CREATE TABLE definitions (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    source TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    client TEXT NOT NULL,
    workflow TEXT NOT NULL,
    workflow_digest TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('pending', 'scheduled', 'queued', 'started', 'completed', 'broken', 'paused')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    content_id TEXT,
    endpoints TEXT NOT NULL,
    priority INTEGER NOT NULL,
    top_of_queue INTEGER NOT NULL CHECK (top_of_queue IN (0, 1)),
    run_at INTEGER,
    semaphore_url TEXT,
    awaited TEXT NOT NULL,
    persist INTEGER NOT NULL CHECK (persist IN (0, 1)),
    max_retries INTEGER,
    timeout_s REAL,
    tags TEXT NOT NULL,
    rerun_of INTEGER,
    started_at INTEGER,
    completed_at INTEGER,
    deadline_at INTEGER,
    failing INTEGER NOT NULL CHECK (failing IN (0, 1)),
    failed INTEGER NOT NULL CHECK (failed IN (0, 1)),
    error TEXT,
    result TEXT,
    seq INTEGER NOT NULL,
    CONSTRAINT jobs_ended CHECK ((completed_at IS NOT NULL) = (state IN ('completed', 'broken')))
) STRICT;

-- Pages in every order that a listing may ask for, of one client and of all.
CREATE INDEX jobs_by_client ON jobs (client, id);
CREATE INDEX jobs_by_client_state ON jobs (client, state, id);
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_client_creation ON jobs (client, created_at, id);
CREATE INDEX jobs_by_creation ON jobs (created_at, id);
CREATE INDEX jobs_by_client_update ON jobs (client, updated_at, id);
CREATE INDEX jobs_by_update ON jobs (updated_at, id);
CREATE INDEX jobs_by_client_priority ON jobs (client, priority, id);
CREATE INDEX jobs_by_priority ON jobs (priority, id);
CREATE INDEX jobs_by_client_time ON jobs (client, coalesce(run_at, -1), id);
CREATE INDEX jobs_by_time ON jobs (coalesce(run_at, -1), id);

-- What the engine asks for again and again: few rows, however many jobs there are.
CREATE INDEX jobs_by_end ON jobs (completed_at) WHERE completed_at IS NOT NULL AND persist = 0;
CREATE INDEX jobs_queued ON jobs (client, top_of_queue DESC, priority, id) WHERE state = 'queued';
CREATE INDEX jobs_places ON jobs (top_of_queue, priority, id) WHERE state = 'queued';
CREATE INDEX jobs_scheduled ON jobs (coalesce(run_at, 0)) WHERE state = 'scheduled' AND semaphore_url IS NULL;
CREATE INDEX jobs_gated ON jobs (coalesce(run_at, 0)) WHERE state = 'scheduled' AND semaphore_url IS NOT NULL;
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE state = 'started' AND deadline_at IS NOT NULL;
CREATE INDEX jobs_pending ON jobs (id) WHERE state = 'pending';

-- What never changes of a job, apart from it, so that a change of state does not write it again.
CREATE TABLE job_bodies (
    job_id INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    parameters TEXT NOT NULL,
    arguments TEXT NOT NULL,
    custom_data TEXT NOT NULL
) STRICT;

CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    step TEXT NOT NULL,
    item_index INTEGER,
    handler TEXT NOT NULL,
    queue TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('blocked', 'ready', 'dispatched', 'running', 'retry_wait',
                         'completed', 'failed', 'skipped', 'cancelled')),
    created_at INTEGER NOT NULL,
    on_failure INTEGER NOT NULL CHECK (on_failure IN (0, 1)),
    priority INTEGER NOT NULL,
    top_of_queue INTEGER NOT NULL CHECK (top_of_queue IN (0, 1)),
    item TEXT,
    inputs TEXT NOT NULL,
    timeout_s REAL NOT NULL,
    attempt INTEGER NOT NULL,
    token TEXT,
    tries INTEGER NOT NULL,
    timeouts INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    ready_at INTEGER,
    dispatched_at INTEGER,
    published INTEGER NOT NULL CHECK (published IN (0, 1)),
    worker_id TEXT,
    worker TEXT,
    seen_at INTEGER,
    started_at INTEGER,
    attempt_started_at INTEGER,
    ended_at INTEGER,
    progress REAL NOT NULL,
    outputs TEXT NOT NULL,
    error TEXT,
    error_kind TEXT,
    exit_code INTEGER,
    weight REAL NOT NULL,
    CONSTRAINT tasks_ended
        CHECK ((ended_at IS NOT NULL) = (state IN ('completed', 'failed', 'skipped', 'cancelled'))),
    CONSTRAINT tasks_fenced CHECK (token IS NOT NULL OR state NOT IN ('dispatched', 'running')),
    CONSTRAINT tasks_timed CHECK (ready_at IS NOT NULL OR state <> 'retry_wait')
) STRICT;

CREATE INDEX tasks_by_job ON tasks (job_id, id);
CREATE INDEX tasks_ready ON tasks (queue, top_of_queue DESC, priority, job_id, id) WHERE state = 'ready';
CREATE INDEX tasks_held ON tasks (token) WHERE state IN ('dispatched', 'running');
CREATE INDEX tasks_waiting ON tasks (ready_at) WHERE state = 'retry_wait';

CREATE TABLE attempts (
    task_id INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    token TEXT NOT NULL,
    worker TEXT,
    started_at INTEGER,
    ended_at INTEGER NOT NULL,
    outcome TEXT NOT NULL
        CHECK (outcome IN ('completed', 'failed', 'lost', 'released', 'interrupted', 'cancelled')),
    error TEXT,
    error_kind TEXT,
    exit_code INTEGER,
    process_s REAL,
    PRIMARY KEY (task_id, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    task_id INTEGER,
    severity INTEGER NOT NULL CHECK (severity BETWEEN 0 AND 4),
    progname TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    visible INTEGER NOT NULL CHECK (visible IN (0, 1))
) STRICT;

CREATE INDEX logs_by_job ON logs (job_id, id);

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    task_id INTEGER,
    client TEXT NOT NULL,
    workflow TEXT NOT NULL,
    task_name TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('job', 'task')),
    name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_job ON events (job_id);

-- A lane is 0 for a job's task events and 1 for its job events, which may overtake them.
CREATE TABLE callbacks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    endpoint TEXT NOT NULL,
    lane INTEGER NOT NULL CHECK (lane IN (0, 1)),
    event TEXT NOT NULL,
    task_id INTEGER,
    webhook_id TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    waiting_since INTEGER NOT NULL, -- its creation, or its last replay
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,
    last_error TEXT,
    delivered_at INTEGER,
    CONSTRAINT callbacks_delivered CHECK ((delivered_at IS NOT NULL) = (state = 'delivered'))
) STRICT;

CREATE INDEX callbacks_by_job ON callbacks (job_id, id);
CREATE INDEX callbacks_pending ON callbacks (job_id, endpoint, lane, id) WHERE state = 'pending';
CREATE INDEX callbacks_oldest ON callbacks (created_at) WHERE state = 'pending';
CREATE INDEX callbacks_dead ON callbacks (job_id) WHERE state = 'dead';

-- One row for each line that has something undelivered, with its clock; a claim puts `due_at` off to the lease's end.
CREATE TABLE callback_lines (
    id INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    endpoint TEXT NOT NULL,
    lane INTEGER NOT NULL CHECK (lane IN (0, 1)),
    due_at INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0 CHECK (claimed IN (0, 1)),
    UNIQUE (job_id, endpoint, lane)
) STRICT;

CREATE INDEX callback_lines_due ON callback_lines (due_at);

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    language TEXT NOT NULL,
    queues TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Scopes: `jobs:<client>` by state and `failed`; `queue:<queue>` by state of its waiting and running tasks;
-- `tasks` (processed, failed: totals); `callbacks` (pending).
CREATE TABLE counters (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

-- How many jobs are queued in each block of 1,024 ids: the place of one is a sum of few rows, however many wait.
CREATE TABLE queued_blocks (
    top_of_queue INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    block INTEGER NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (top_of_queue, priority, block)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    client TEXT NOT NULL,
    key TEXT NOT NULL,
    job_id INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    answer TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (client, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE duties (
    name TEXT PRIMARY KEY,
    next_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE clients (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL CHECK (role IN ('admin', 'operator', 'submitter', 'viewer')),
    config TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client TEXT NOT NULL REFERENCES clients ON DELETE CASCADE,
    digest TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE INDEX api_keys_by_client ON api_keys (client, id);

-- The scope is a client's name, or '' for the system.
CREATE TABLE settings (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;
