-- Writing jobs, tasks and what follows from their changes. Rows that are written together come as one array per column.

-- name: job_columns --
jobs.id, client, workflow, workflow_digest, state, created_at, updated_at, parameters, arguments, content_id,
custom_data, endpoints, priority, top_of_queue, run_at, semaphore_url, awaited, persist, max_retries, timeout_s, tags,
rerun_of, started_at, completed_at, deadline_at, failing, failed, error, result, seq, workspace_of, traceparent

-- name: task_columns --
tasks.id, tasks.job_id, tasks.step, tasks.item_index, tasks.handler, tasks.queue, tasks.state, tasks.created_at,
tasks.on_failure, tasks.priority, tasks.top_of_queue, tasks.item, tasks.inputs, tasks.timeout_s, tasks.attempt,
tasks.token, tasks.tries, tasks.timeouts, tasks.losses, tasks.ready_at, tasks.dispatched_at, tasks.published,
tasks.worker_id, tasks.worker, tasks.seen_at, tasks.started_at, tasks.attempt_started_at, tasks.ended_at,
tasks.progress, tasks.outputs, tasks.error, tasks.error_kind, tasks.exit_code, tasks.weight

-- name: lock --
SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))

-- name: take_ids --
SELECT one.sequence, nextval((one.sequence || '_ids')::regclass)
FROM unnest($1::text[], $2::bigint[]) AS one (sequence, amount), generate_series(1, one.amount)

-- name: save_definition --
INSERT INTO definitions (digest, name, source) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: known_key --
SELECT job_id, fingerprint, answer FROM idempotency WHERE client = $1 AND key = $2

-- name: insert_key --
-- Where another transaction is about to write the same key, this one waits for its end.
INSERT INTO idempotency (client, key, job_id, fingerprint, answer, created_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])
ON CONFLICT DO NOTHING
RETURNING job_id

-- name: insert_job --
INSERT INTO jobs (
    id, client, workflow, workflow_digest, state, created_at, updated_at, content_id, endpoints, priority,
    top_of_queue, run_at, semaphore_url, awaited, persist, max_retries, timeout_s, tags, rerun_of, started_at,
    completed_at, deadline_at, failing, failed, error, result, seq, workspace_of, traceparent
)
SELECT * FROM unnest(
    $1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[],
    $9::text[], $10::bigint[], $11::boolean[], $12::bigint[], $13::text[], $14::text[], $15::boolean[],
    $16::bigint[], $17::float8[], $18::text[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[],
    $23::boolean[], $24::boolean[], $25::text[], $26::text[], $27::bigint[], $28::bigint[], $29::text[]
)

-- name: insert_job_body --
INSERT INTO job_bodies (
    job_id, parameters, arguments, custom_data
)
SELECT * FROM unnest(
    $1::bigint[], $2::text[], $3::text[], $4::text[]
)

-- name: update_job --
UPDATE jobs SET
    state = new.state, updated_at = new.updated_at, started_at = new.started_at, completed_at = new.completed_at,
    deadline_at = new.deadline_at, failing = new.failing, failed = new.failed, error = new.error, result =
    new.result, seq = new.seq
FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[], $7::boolean[], $8::text[],
    $9::text[], $10::bigint[], $11::bigint[], $12::text[]
) AS new (
    state, updated_at, started_at, completed_at, deadline_at, failing, failed, error, result, seq, id, before
)
WHERE jobs.id = new.id AND jobs.state = new.before

-- name: update_job_wishes --
-- Apart from the rest: it happens by hand alone, and these columns have indexes.
UPDATE jobs SET
    endpoints = new.endpoints, priority = new.priority, top_of_queue = new.top_of_queue, run_at = new.run_at,
    semaphore_url = new.semaphore_url, persist = new.persist
FROM unnest(
    $1::text[], $2::bigint[], $3::boolean[], $4::bigint[], $5::text[], $6::boolean[], $7::bigint[]
) AS new (
    endpoints, priority, top_of_queue, run_at, semaphore_url, persist, id
)
WHERE jobs.id = new.id

-- name: insert_task --
INSERT INTO tasks (
    id, job_id, step, item_index, handler, queue, state, created_at, on_failure, priority, top_of_queue, item,
    inputs, timeout_s, attempt, token, tries, timeouts, losses, ready_at, dispatched_at, published, worker_id,
    worker, seen_at, started_at, attempt_started_at, ended_at, progress, outputs, error, error_kind, exit_code,
    weight
)
SELECT * FROM unnest(
    $1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[],
    $9::boolean[], $10::bigint[], $11::boolean[], $12::text[], $13::text[], $14::float8[], $15::bigint[],
    $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::boolean[],
    $23::text[], $24::text[], $25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[], $29::float8[],
    $30::text[], $31::text[], $32::text[], $33::bigint[], $34::float8[]
)

-- name: update_task --
UPDATE tasks SET
    state = new.state, item_index = new.item_index, item = new.item, priority = new.priority, top_of_queue =
    new.top_of_queue, inputs = new.inputs, timeout_s = new.timeout_s, attempt = new.attempt, token = new.token,
    tries = new.tries, timeouts = new.timeouts, losses = new.losses, ready_at = new.ready_at, dispatched_at =
    new.dispatched_at, published = new.published, worker_id = new.worker_id, worker = new.worker, seen_at =
    new.seen_at, started_at = new.started_at, attempt_started_at = new.attempt_started_at, ended_at = new.ended_at,
    progress = new.progress, outputs = new.outputs, error = new.error, error_kind = new.error_kind, exit_code =
    new.exit_code
FROM unnest(
    $1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::boolean[], $6::text[], $7::float8[], $8::bigint[],
    $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::boolean[],
    $16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::float8[],
    $23::text[], $24::text[], $25::text[], $26::bigint[], $27::bigint[], $28::text[]
) AS new (
    state, item_index, item, priority, top_of_queue, inputs, timeout_s, attempt, token, tries, timeouts, losses,
    ready_at, dispatched_at, published, worker_id, worker, seen_at, started_at, attempt_started_at, ended_at,
    progress, outputs, error, error_kind, exit_code, id, before
)
WHERE tasks.id = new.id AND tasks.state = new.before

-- name: move_task --
-- What changes of a task that takes its course: it is handed out, it completes. Nearly all do, and each value costs.
UPDATE tasks SET
    state = new.state, item_index = new.item_index, item = new.item, inputs = new.inputs, attempt = new.attempt,
    token = new.token, dispatched_at = new.dispatched_at, worker = new.worker, started_at = new.started_at,
    ended_at = new.ended_at, progress = new.progress, outputs = new.outputs, ready_at = NULL, published = false,
    worker_id = NULL, seen_at = NULL, attempt_started_at = NULL, error = NULL, error_kind = NULL, exit_code = NULL
FROM unnest(
    $1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::bigint[],
    $10::bigint[], $11::float8[], $12::text[], $13::bigint[], $14::text[]
) AS new (
    state, item_index, item, inputs, attempt, token, dispatched_at, worker, started_at, ended_at, progress, outputs, id,
    before
)
WHERE tasks.id = new.id AND tasks.state = new.before

-- name: insert_attempt --
INSERT INTO attempts (
    task_id, attempt, token, worker, started_at, ended_at, outcome, error, error_kind, exit_code, process_s
)
SELECT * FROM unnest(
    $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
    $9::text[], $10::bigint[], $11::float8[]
)

-- name: insert_log --
INSERT INTO logs (
    job_id, task_id, severity, progname, message, created_at, visible
)
SELECT * FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::boolean[]
)

-- name: insert_event --
-- Under a lock to the end of the transaction: ids ascend in the order of the commits, and no follower passes one over.
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended('events', 0)))
INSERT INTO events (
    job_id, task_id, client, workflow, task_name, kind, name, seq, at, body
)
SELECT new.* FROM turn, unnest(
    $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
    $9::bigint[], $10::text[]
) AS new

-- name: count --
-- The rows come in one order from everybody who counts.
INSERT INTO counters (scope, name, value)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
ON CONFLICT (scope, name) DO UPDATE SET value = counters.value + excluded.value

-- name: count_queued --
INSERT INTO queued_blocks (top_of_queue, priority, block, value)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
ON CONFLICT (top_of_queue, priority, block) DO UPDATE SET value = queued_blocks.value + excluded.value

-- name: forget_empty_blocks --
DELETE FROM queued_blocks WHERE (top_of_queue, priority, block) IN (
    SELECT top_of_queue, priority, block FROM queued_blocks WHERE value = 0 FOR UPDATE SKIP LOCKED
)

-- name: hold_jobs --
-- The job's row is the lock of all that belongs to it; it is taken in the order of the ids, so that nobody waits in a circle.
-- A statement of its own: those after it see what the holder before has committed.
SELECT FROM jobs WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE

-- name: snapshot_jobs --
SELECT {job_columns} FROM jobs JOIN job_bodies ON job_bodies.job_id = jobs.id WHERE jobs.id = ANY($1::bigint[])

-- name: snapshot_tasks --
-- Locked too: heartbeats, progress and confirmations come past the job's lock.
SELECT {task_columns} FROM tasks WHERE job_id = ANY($1::bigint[]) ORDER BY job_id, id FOR NO KEY UPDATE

-- name: seen_tasks --
-- As `snapshot_tasks`, for a decision that holds nothing.
SELECT {task_columns} FROM tasks WHERE job_id = ANY($1::bigint[]) ORDER BY job_id, id

-- name: jobs_as_seen --
-- Those that are still as a decision saw them; they are held.
SELECT jobs.id FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS seen (id, state, updated_at, seq)
JOIN jobs ON jobs.id = seen.id
WHERE jobs.state = seen.state AND jobs.updated_at = seen.updated_at AND jobs.seq = seen.seq
ORDER BY jobs.id FOR NO KEY UPDATE OF jobs

-- name: tasks_as_seen --
SELECT tasks.id FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[]) AS seen (id, state, token, attempt)
JOIN tasks ON tasks.id = seen.id
WHERE tasks.state = seen.state AND tasks.token IS NOT DISTINCT FROM seen.token AND tasks.attempt = seen.attempt
ORDER BY tasks.job_id, tasks.id FOR NO KEY UPDATE OF tasks

-- name: snapshot_some_tasks --
SELECT {task_columns} FROM tasks WHERE job_id = ANY($1::bigint[]) AND (state = 'blocked' OR id = ANY($2::bigint[]))
ORDER BY job_id, id FOR NO KEY UPDATE

-- name: snapshot_rest --
SELECT job_id, step, state, count(*) FROM tasks
WHERE job_id = ANY($1::bigint[]) AND state <> 'blocked' AND NOT id = ANY($2::bigint[])
GROUP BY job_id, step, state ORDER BY job_id

-- name: jobs_in_slots --
SELECT client, priority, top_of_queue FROM jobs WHERE state = 'started'

-- name: heads_of_queue --
SELECT head.* FROM counters, LATERAL (
    SELECT id, client, priority, top_of_queue FROM jobs
    WHERE state = 'queued' AND client = substr(counters.scope, 6) COLLATE "default"
    ORDER BY top_of_queue DESC, priority, id LIMIT $1::bigint
) AS head
WHERE counters.scope LIKE 'jobs:%' AND counters.name = 'queued' AND counters.value > 0
ORDER BY head.client, head.top_of_queue DESC, head.priority, head.id

-- name: heads_of_client --
SELECT id, client, priority, top_of_queue FROM jobs
WHERE state = 'queued' AND client = $1::text ORDER BY top_of_queue DESC, priority, id LIMIT $2::bigint

-- name: waiting_heads --
-- Under the queue's lock, which it takes: how many of a queue are on their way, and what is next of those that are ready,
-- up to `most` together.
SELECT * FROM queue_turn(:queue, :most)

-- name: take_ready --
-- What is being decided on now is passed over: whoever waited for it here would keep a whole queue waiting.
SELECT {task_columns}, jobs.client, jobs.workflow, coalesce(jobs.workspace_of, jobs.id), jobs.traceparent
FROM tasks JOIN jobs ON jobs.id = tasks.job_id
WHERE tasks.id = ANY($1::bigint[]) AND tasks.state = 'ready'
ORDER BY tasks.top_of_queue DESC, tasks.priority, tasks.job_id, tasks.id FOR NO KEY UPDATE OF tasks SKIP LOCKED

-- name: confirm_published --
UPDATE tasks SET published = true
WHERE state IN ('dispatched', 'running') AND id IN (
    SELECT id FROM tasks WHERE state IN ('dispatched', 'running') AND token = ANY($1::text[])
    ORDER BY job_id, id FOR NO KEY UPDATE
)

-- name: note_worker --
INSERT INTO workers (id, name, language, queues, seen_at, sandbox)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, language = excluded.language, queues = excluded.queues, seen_at = excluded.seen_at,
    sandbox = excluded.sandbox

-- name: forget_worker --
DELETE FROM workers WHERE id IN (
    SELECT id FROM workers WHERE seen_at < (SELECT max(silent) FROM unnest($1::bigint[]) AS one (silent))
    FOR UPDATE SKIP LOCKED
)

-- name: renew_lease --
WITH named AS MATERIALIZED (
    SELECT tasks.id, one.seen_at, one.worker_id, one.worker
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[]) AS one (seen_at, worker_id, worker, id, token)
    JOIN tasks ON tasks.id = one.id AND tasks.token = one.token
    WHERE tasks.state IN ('dispatched', 'running')
    ORDER BY tasks.job_id, tasks.id FOR NO KEY UPDATE OF tasks
)
UPDATE tasks SET seen_at = named.seen_at, worker_id = coalesce(tasks.worker_id, named.worker_id),
    worker = coalesce(tasks.worker, named.worker)
FROM named WHERE tasks.id = named.id

-- name: held_of --
SELECT tasks.id, tasks.token FROM unnest($1::bigint[], $2::text[]) AS one (id, token)
JOIN tasks ON tasks.id = one.id AND tasks.token = one.token
WHERE tasks.state IN ('dispatched', 'running')

-- name: save_progress --
WITH named AS MATERIALIZED (
    SELECT tasks.id, one.progress FROM unnest($1::float8[], $2::bigint[], $3::text[]) AS one (progress, id, token)
    JOIN tasks ON tasks.id = one.id AND tasks.token = one.token
    WHERE tasks.state IN ('dispatched', 'running')
    ORDER BY tasks.job_id, tasks.id FOR NO KEY UPDATE OF tasks
)
UPDATE tasks SET progress = named.progress FROM named WHERE tasks.id = named.id

-- name: cleanable --
-- What is being decided on now is left for another time.
SELECT id FROM jobs
WHERE completed_at IS NOT NULL AND NOT persist AND completed_at < $1
    AND NOT EXISTS (SELECT 1 FROM callbacks WHERE callbacks.job_id = jobs.id AND callbacks.state = 'pending')
ORDER BY completed_at LIMIT $2::bigint FOR UPDATE OF jobs SKIP LOCKED

-- name: count_ended --
SELECT client, state, failed, count(*) FROM jobs WHERE id = ANY($1::bigint[]) GROUP BY 1, 2, 3

-- name: count_open_tasks --
SELECT queue, state, count(*) FROM tasks
WHERE job_id = ANY($1::bigint[]) AND ended_at IS NULL GROUP BY 1, 2

-- name: delete_jobs --
WITH tasks_gone AS (DELETE FROM tasks WHERE job_id = ANY($1::bigint[]) RETURNING id),
    attempts_gone AS (DELETE FROM attempts USING tasks_gone WHERE attempts.task_id = tasks_gone.id),
    bodies_gone AS (DELETE FROM job_bodies WHERE job_id = ANY($1::bigint[])),
    logs_gone AS (DELETE FROM logs WHERE job_id = ANY($1::bigint[])),
    events_gone AS (DELETE FROM events WHERE job_id = ANY($1::bigint[])),
    callbacks_gone AS (DELETE FROM callbacks WHERE job_id = ANY($1::bigint[])),
    lines_gone AS (DELETE FROM callback_lines WHERE job_id = ANY($1::bigint[]))
DELETE FROM jobs WHERE id = ANY($1::bigint[])

-- name: forget_keys --
DELETE FROM idempotency WHERE created_at < $1

-- name: claim_duty --
INSERT INTO duties (name, next_at) VALUES (:name, :now::bigint + :every::bigint)
ON CONFLICT (name) DO UPDATE SET next_at = excluded.next_at
    WHERE duties.next_at <= :now::bigint OR duties.next_at > :now::bigint + :every::bigint
RETURNING next_at

-- name: set_meta --
INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: first_meta --
INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING

-- name: swap_meta --
UPDATE meta SET value = $1 WHERE name = $2 AND value = $3

-- name: clean_events --
DELETE FROM events WHERE at < $1 AND id IN (
    SELECT id FROM events WHERE id <= $2 ORDER BY id LIMIT $3::bigint FOR UPDATE SKIP LOCKED
)
