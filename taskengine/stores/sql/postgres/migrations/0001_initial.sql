-- Times are UTC milliseconds, durations seconds, JSON is kept as the text that was written.
-- Rows of a job go with it by `delete_jobs`: a foreign key would cost each of them a check and a lock of the job's row.

-- Ids are taken from here, so that none comes twice, whatever is deleted.
CREATE SEQUENCE jobs_ids;
CREATE SEQUENCE tasks_ids;

-- The last transaction of each connection, so that one whose commit was not heard of can ask what became of it.
CREATE TABLE commits (
    connection text PRIMARY KEY,
    number bigint NOT NULL,
    begun_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE definitions (
    digest text PRIMARY KEY,
    name text NOT NULL,
    source text NOT NULL
);

CREATE TABLE jobs (
    id bigint PRIMARY KEY,
    client text NOT NULL,
    workflow text NOT NULL,
    workflow_digest text NOT NULL,
    state text NOT NULL
        CHECK (state IN ('pending', 'scheduled', 'queued', 'started', 'completed', 'broken', 'paused')),
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    content_id text,
    endpoints text NOT NULL,
    priority bigint NOT NULL,
    top_of_queue boolean NOT NULL,
    run_at bigint,
    semaphore_url text,
    awaited text NOT NULL,
    persist boolean NOT NULL,
    max_retries bigint,
    timeout_s double precision,
    tags text NOT NULL,
    rerun_of bigint,
    started_at bigint,
    completed_at bigint,
    deadline_at bigint,
    failing boolean NOT NULL,
    failed boolean NOT NULL,
    error text,
    result text,
    seq bigint NOT NULL,
    CONSTRAINT jobs_ended CHECK ((completed_at IS NOT NULL) = (state IN ('completed', 'broken')))
);

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
CREATE INDEX jobs_by_end ON jobs (completed_at) WHERE completed_at IS NOT NULL AND NOT persist;
CREATE INDEX jobs_queued ON jobs (client, top_of_queue DESC, priority, id) WHERE state = 'queued';
CREATE INDEX jobs_places ON jobs (top_of_queue, priority, id) WHERE state = 'queued';
CREATE INDEX jobs_scheduled ON jobs (coalesce(run_at, 0)) WHERE state = 'scheduled' AND semaphore_url IS NULL;
CREATE INDEX jobs_gated ON jobs (coalesce(run_at, 0)) WHERE state = 'scheduled' AND semaphore_url IS NOT NULL;
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE state = 'started' AND deadline_at IS NOT NULL;
CREATE INDEX jobs_pending ON jobs (id) WHERE state = 'pending';

-- What never changes of a job, apart from it, so that a change of state does not write it again.
CREATE TABLE job_bodies (
    job_id bigint PRIMARY KEY,
    parameters text NOT NULL,
    arguments text NOT NULL,
    custom_data text NOT NULL
);

CREATE TABLE tasks (
    id bigint PRIMARY KEY,
    job_id bigint NOT NULL,
    step text NOT NULL,
    item_index bigint,
    handler text NOT NULL,
    queue text NOT NULL,
    state text NOT NULL
        CHECK (state IN ('blocked', 'ready', 'dispatched', 'running', 'retry_wait',
                         'completed', 'failed', 'skipped', 'cancelled')),
    created_at bigint NOT NULL,
    on_failure boolean NOT NULL,
    priority bigint NOT NULL,
    top_of_queue boolean NOT NULL,
    item text,
    inputs text NOT NULL,
    timeout_s double precision NOT NULL,
    attempt bigint NOT NULL,
    token text,
    tries bigint NOT NULL,
    timeouts bigint NOT NULL,
    losses bigint NOT NULL,
    ready_at bigint,
    dispatched_at bigint,
    published boolean NOT NULL,
    worker_id text,
    worker text,
    seen_at bigint,
    started_at bigint,
    attempt_started_at bigint,
    ended_at bigint,
    progress double precision NOT NULL,
    outputs text NOT NULL,
    error text,
    error_kind text,
    exit_code bigint,
    weight double precision NOT NULL,
    CONSTRAINT tasks_ended
        CHECK ((ended_at IS NOT NULL) = (state IN ('completed', 'failed', 'skipped', 'cancelled'))),
    CONSTRAINT tasks_fenced CHECK (token IS NOT NULL OR state NOT IN ('dispatched', 'running')),
    CONSTRAINT tasks_timed CHECK (ready_at IS NOT NULL OR state <> 'retry_wait')
);

CREATE INDEX tasks_by_job ON tasks (job_id, id);
CREATE INDEX tasks_out ON tasks (job_id, id) WHERE state IN ('dispatched', 'running');
CREATE INDEX tasks_ready ON tasks (queue, top_of_queue DESC, priority, job_id, id) WHERE state = 'ready';
CREATE INDEX tasks_held ON tasks (token) WHERE state IN ('dispatched', 'running');
CREATE INDEX tasks_waiting ON tasks (ready_at) WHERE state = 'retry_wait';

CREATE TABLE attempts (
    task_id bigint NOT NULL,
    attempt bigint NOT NULL,
    token text NOT NULL,
    worker text,
    started_at bigint,
    ended_at bigint NOT NULL,
    outcome text NOT NULL
        CHECK (outcome IN ('completed', 'failed', 'lost', 'released', 'interrupted', 'cancelled')),
    error text,
    error_kind text,
    exit_code bigint,
    process_s double precision,
    PRIMARY KEY (task_id, attempt)
);

CREATE TABLE logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id bigint NOT NULL,
    task_id bigint,
    severity bigint NOT NULL CHECK (severity BETWEEN 0 AND 4),
    progname text NOT NULL,
    message text NOT NULL,
    created_at bigint NOT NULL,
    visible boolean NOT NULL
);

CREATE INDEX logs_by_job ON logs (job_id, id);

CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id bigint NOT NULL,
    task_id bigint,
    client text NOT NULL,
    workflow text NOT NULL,
    task_name text,
    kind text NOT NULL CHECK (kind IN ('job', 'task')),
    name text NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    body text NOT NULL
);

CREATE INDEX events_by_job ON events (job_id);

-- A lane is 0 for a job's task events and 1 for its job events, which may overtake them.
CREATE TABLE callbacks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id bigint NOT NULL,
    endpoint text NOT NULL,
    lane bigint NOT NULL CHECK (lane IN (0, 1)),
    event text NOT NULL,
    task_id bigint,
    webhook_id text NOT NULL,
    body text NOT NULL,
    created_at bigint NOT NULL,
    waiting_since bigint NOT NULL, -- its creation, or its last replay
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts bigint NOT NULL DEFAULT 0,
    last_status bigint,
    last_error text,
    delivered_at bigint,
    CONSTRAINT callbacks_delivered CHECK ((delivered_at IS NOT NULL) = (state = 'delivered'))
);

CREATE INDEX callbacks_by_job ON callbacks (job_id, id);
CREATE INDEX callbacks_pending ON callbacks (job_id, endpoint, lane, id) WHERE state = 'pending';
CREATE INDEX callbacks_oldest ON callbacks (created_at) WHERE state = 'pending';
CREATE INDEX callbacks_dead ON callbacks (job_id) WHERE state = 'dead';

-- One row for each line that has something undelivered, with its clock; a claim puts `due_at` off to the lease's end.
CREATE TABLE callback_lines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id bigint NOT NULL,
    endpoint text NOT NULL,
    lane bigint NOT NULL CHECK (lane IN (0, 1)),
    due_at bigint NOT NULL,
    failures bigint NOT NULL DEFAULT 0,
    claimed boolean NOT NULL DEFAULT false,
    UNIQUE (job_id, endpoint, lane)
);

CREATE INDEX callback_lines_due ON callback_lines (due_at);

CREATE TABLE workers (
    id text PRIMARY KEY,
    name text NOT NULL,
    language text NOT NULL,
    queues text NOT NULL,
    seen_at bigint NOT NULL
);

-- Scopes: `jobs:<client>` by state and `failed`; `queue:<queue>` by state of its waiting and running tasks;
-- `tasks` (processed, failed: totals); `callbacks` (pending).
CREATE TABLE counters (
    scope text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (scope, name)
) WITH (fillfactor = 50);

-- How many jobs are queued in each block of 1,024 ids: the place of one is a sum of few rows, however many wait.
CREATE TABLE queued_blocks (
    top_of_queue bigint NOT NULL,
    priority bigint NOT NULL,
    block bigint NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (top_of_queue, priority, block)
);

CREATE TABLE idempotency (
    client text NOT NULL,
    key text NOT NULL,
    job_id bigint NOT NULL,
    fingerprint text NOT NULL,
    answer text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (client, key)
);

CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE duties (
    name text PRIMARY KEY,
    next_at bigint NOT NULL
);

CREATE TABLE meta (
    name text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE clients (
    name text PRIMARY KEY,
    role text NOT NULL CHECK (role IN ('admin', 'operator', 'submitter', 'viewer')),
    config text NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE api_keys (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client text NOT NULL REFERENCES clients ON DELETE CASCADE,
    digest text NOT NULL,
    created_at bigint NOT NULL,
    revoked_at bigint
);

CREATE INDEX api_keys_by_client ON api_keys (client, id);

-- The scope is a client's name, or '' for the system.
CREATE TABLE settings (
    scope text NOT NULL,
    name text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (scope, name)
);
