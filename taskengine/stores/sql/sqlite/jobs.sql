-- Writing jobs, tasks and what follows from their changes.

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

-- name: take_ids --
UPDATE sequences SET value = max(value, ?) + ? WHERE name = ? RETURNING value

-- name: save_definition --
INSERT INTO definitions (digest, name, source) VALUES (?, ?, ?) ON CONFLICT DO NOTHING

-- name: known_key --
SELECT job_id, fingerprint, answer FROM idempotency WHERE client = ? AND key = ?

-- name: insert_key --
INSERT INTO idempotency (client, key, job_id, fingerprint, answer, created_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
RETURNING job_id

-- name: insert_job --
INSERT INTO jobs (
    id, client, workflow, workflow_digest, state, created_at, updated_at, content_id, endpoints, priority,
    top_of_queue, run_at, semaphore_url, awaited, persist, max_retries, timeout_s, tags, rerun_of, started_at,
    completed_at, deadline_at, failing, failed, error, result, seq, workspace_of, traceparent
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: insert_job_body --
INSERT INTO job_bodies (job_id, parameters, arguments, custom_data) VALUES (?, ?, ?, ?)

-- name: update_job --
UPDATE jobs SET
    state = ?, updated_at = ?, started_at = ?, completed_at = ?, deadline_at = ?, failing = ?, failed = ?, error = ?,
    result = ?, seq = ?
WHERE id = ? AND state = ?

-- name: update_job_wishes --
-- Apart from the rest: it happens by hand alone, and these columns have indexes.
UPDATE jobs SET endpoints = ?, priority = ?, top_of_queue = ?, run_at = ?, semaphore_url = ?, persist = ? WHERE id = ?

-- name: insert_task --
INSERT INTO tasks (
    id, job_id, step, item_index, handler, queue, state, created_at, on_failure, priority, top_of_queue, item, inputs,
    timeout_s, attempt, token, tries, timeouts, losses, ready_at, dispatched_at, published, worker_id, worker,
    seen_at, started_at, attempt_started_at, ended_at, progress, outputs, error, error_kind, exit_code, weight
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: update_task --
UPDATE tasks SET
    state = ?, item_index = ?, item = ?, priority = ?, top_of_queue = ?, inputs = ?, timeout_s = ?, attempt = ?, token = ?, tries = ?,
    timeouts = ?, losses = ?, ready_at = ?, dispatched_at = ?, published = ?, worker_id = ?, worker = ?, seen_at = ?,
    started_at = ?, attempt_started_at = ?, ended_at = ?, progress = ?, outputs = ?, error = ?, error_kind = ?,
    exit_code = ?
WHERE id = ? AND state = ?

-- name: move_task --
UPDATE tasks SET
    state = ?, item_index = ?, item = ?, inputs = ?, attempt = ?, token = ?, dispatched_at = ?, worker = ?, started_at = ?,
    ended_at = ?, progress = ?, outputs = ?, ready_at = NULL, published = false, worker_id = NULL, seen_at = NULL,
    attempt_started_at = NULL, error = NULL, error_kind = NULL, exit_code = NULL
WHERE id = ? AND state = ?

-- name: insert_attempt --
INSERT INTO attempts (
    task_id, attempt, token, worker, started_at, ended_at, outcome, error, error_kind, exit_code, process_s
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: insert_log --
INSERT INTO logs (job_id, task_id, severity, progname, message, created_at, visible) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: insert_event --
INSERT INTO events (job_id, task_id, client, workflow, task_name, kind, name, seq, at, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: count --
INSERT INTO counters (scope, name, value) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET value = value + excluded.value

-- name: count_queued --
INSERT INTO queued_blocks (top_of_queue, priority, block, value) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET value = value + excluded.value

-- name: forget_empty_blocks --
DELETE FROM queued_blocks WHERE value = 0

-- name: snapshot_jobs --
SELECT {job_columns} FROM jobs JOIN job_bodies ON job_bodies.job_id = jobs.id
WHERE jobs.id IN (SELECT value FROM json_each(?))

-- name: snapshot_tasks --
SELECT {task_columns} FROM tasks WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY job_id, id

-- name: snapshot_some_tasks --
SELECT {task_columns} FROM tasks WHERE job_id IN (SELECT value FROM json_each(?1))
    AND (state = 'blocked' OR id IN (SELECT value FROM json_each(?2)))
ORDER BY job_id, id

-- name: snapshot_rest --
SELECT job_id, step, state, count(*) FROM tasks WHERE job_id IN (SELECT value FROM json_each(?1))
    AND state <> 'blocked' AND id NOT IN (SELECT value FROM json_each(?2))
GROUP BY job_id, step, state ORDER BY job_id

-- name: jobs_in_slots --
SELECT client, priority, top_of_queue FROM jobs WHERE state = 'started'

-- name: heads_of_queue --
-- The subquery takes the heads of one client's queue by its index.
SELECT id, client, priority, top_of_queue FROM jobs WHERE id IN (
    SELECT head.id FROM counters, jobs AS head
    WHERE counters.scope GLOB 'jobs:*' AND counters.name = 'queued' AND counters.value > 0
        AND head.id IN (
            SELECT queued.id FROM jobs AS queued
            WHERE queued.state = 'queued' AND queued.client = substr(counters.scope, 6)
            ORDER BY queued.top_of_queue DESC, queued.priority, queued.id LIMIT ?
        )
)
ORDER BY client, top_of_queue DESC, priority, id

-- name: heads_of_client --
SELECT id, client, priority, top_of_queue FROM jobs
WHERE state = 'queued' AND client = ? ORDER BY top_of_queue DESC, priority, id LIMIT ?

-- name: waiting_heads --
-- The writer is alone, so it has the queue's lock. How many of a queue are on their way, and what is next of those that are ready: up to `most` together.
SELECT one.out, ahead.top_of_queue, ahead.priority, ahead.job_id, ahead.id
FROM (SELECT (SELECT value FROM counters WHERE scope = :counter AND name = 'dispatched') AS out) AS one
LEFT JOIN (
    SELECT top_of_queue, priority, job_id, id FROM tasks WHERE state = 'ready' AND queue = :queue
    ORDER BY top_of_queue DESC, priority, job_id, id
    LIMIT max(0, :most - coalesce((SELECT value FROM counters WHERE scope = :counter AND name = 'dispatched'), 0))
) AS ahead ON 1

-- name: take_ready --
SELECT {task_columns}, jobs.client, jobs.workflow, coalesce(jobs.workspace_of, jobs.id), jobs.traceparent
FROM tasks JOIN jobs ON jobs.id = tasks.job_id
WHERE tasks.id IN (SELECT value FROM json_each(?)) AND tasks.state = 'ready'
ORDER BY tasks.top_of_queue DESC, tasks.priority, tasks.job_id, tasks.id

-- name: confirm_published --
UPDATE tasks SET published = 1
WHERE state IN ('dispatched', 'running') AND token IN (SELECT value FROM json_each(?))

-- name: note_worker --
INSERT INTO workers (id, name, language, queues, seen_at, sandbox) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    name = excluded.name, language = excluded.language, queues = excluded.queues, seen_at = excluded.seen_at,
    sandbox = excluded.sandbox

-- name: forget_worker --
DELETE FROM workers WHERE seen_at < ?

-- name: renew_lease --
UPDATE tasks SET seen_at = ?1, worker_id = coalesce(worker_id, ?2), worker = coalesce(worker, ?3)
WHERE id = ?4 AND token = ?5 AND state IN ('dispatched', 'running')

-- name: held_of --
SELECT tasks.id, tasks.token
FROM json_each(?) AS ids JOIN json_each(?) AS tokens ON tokens.key = ids.key
JOIN tasks ON tasks.id = ids.value AND tasks.token = tokens.value
WHERE tasks.state IN ('dispatched', 'running')

-- name: save_progress --
UPDATE tasks SET progress = ? WHERE id = ? AND token = ? AND state IN ('dispatched', 'running')

-- name: cleanable --
SELECT id FROM jobs
WHERE completed_at IS NOT NULL AND persist = 0 AND completed_at < ?
    AND NOT EXISTS (SELECT 1 FROM callbacks WHERE callbacks.job_id = jobs.id AND callbacks.state = 'pending')
ORDER BY completed_at LIMIT ?

-- name: count_ended --
SELECT client, state, failed, count(*) FROM jobs WHERE id IN (SELECT value FROM json_each(?)) GROUP BY 1, 2, 3

-- name: count_open_tasks --
SELECT queue, state, count(*) FROM tasks
WHERE job_id IN (SELECT value FROM json_each(?)) AND ended_at IS NULL GROUP BY 1, 2

-- name: delete_jobs --
DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(?))

-- name: forget_keys --
DELETE FROM idempotency WHERE created_at < ?

-- name: claim_duty --
INSERT INTO duties (name, next_at) VALUES (:name, :now + :every)
ON CONFLICT DO UPDATE SET next_at = excluded.next_at
    WHERE duties.next_at <= :now OR duties.next_at > :now + :every
RETURNING next_at

-- name: set_meta --
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value

-- name: first_meta --
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING

-- name: swap_meta --
UPDATE meta SET value = ? WHERE name = ? AND value = ?

-- name: clean_events --
DELETE FROM events WHERE at < ? AND id IN (SELECT id FROM events WHERE id <= ? ORDER BY id LIMIT ?)
