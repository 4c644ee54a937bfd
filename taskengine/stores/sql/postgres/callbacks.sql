-- Undelivered callbacks: a line per (job, endpoint, lane) with one clock. Whoever changes a line holds its job's row.

-- name: insert_callback --
INSERT INTO callbacks (
    job_id, endpoint, lane, event, task_id, webhook_id, body, created_at, headers, waiting_since, state
)
SELECT new.*, new.created_at, 'pending' FROM unnest(
    $1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::text[]
) AS new (
    job_id, endpoint, lane, event, task_id, webhook_id, body, created_at, headers
)

-- name: open_line --
-- A job event stands back, for the time of patience, where task events of its endpoint are undelivered: there before, or
-- opened by this very statement.
INSERT INTO callback_lines (job_id, endpoint, lane, due_at)
SELECT new.job_id, new.endpoint, new.lane, new.since + CASE WHEN EXISTS (
    SELECT 1 FROM callback_lines AS old
    WHERE old.job_id = new.job_id AND old.endpoint = new.endpoint AND old.lane < new.lane
) OR EXISTS (
    SELECT 1 FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS own (job_id, endpoint, lane)
    WHERE own.job_id = new.job_id AND own.endpoint = new.endpoint AND own.lane < new.lane
) THEN new.patience ELSE 0 END
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
    AS new (job_id, endpoint, lane, since, patience)
ON CONFLICT DO NOTHING

-- name: due_lines --
-- Those that another engine is claiming now are passed over.
SELECT id FROM callback_lines
WHERE due_at <= :now::bigint AND endpoint <> ALL(:endpoints::text[])
    AND NOT EXISTS (SELECT 1 FROM unnest(:servers::text[]) AS server WHERE starts_with(endpoint, server))
ORDER BY due_at, id LIMIT :limit::bigint FOR NO KEY UPDATE SKIP LOCKED

-- name: line_heads --
SELECT head.id, head.job_id, jobs.client, head.endpoint, head.event, head.webhook_id, head.body,
    head.created_at, head.attempts, lines.failures, head.waiting_since, jobs.traceparent, head.headers
FROM callback_lines AS lines
JOIN callbacks AS head ON head.id = (
    SELECT min(id) FROM callbacks
    WHERE state = 'pending' AND job_id = lines.job_id AND endpoint = lines.endpoint AND lane = lines.lane
)
JOIN jobs ON jobs.id = lines.job_id
WHERE lines.id = ANY($1::bigint[])
ORDER BY lines.due_at, lines.id

-- name: claim_line --
UPDATE callback_lines SET due_at = new.due_at, claimed = true
FROM unnest($1::bigint[], $2::bigint[]) AS new (due_at, id) WHERE callback_lines.id = new.id

-- name: release_claims --
UPDATE callback_lines SET due_at = $1, claimed = false WHERE claimed

-- name: settle --
-- Where it was given back untried, nothing is said of a try; what is to be tried again counts once. Jobs are locked in the
-- order of their ids, as by decisions.
WITH new AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::bigint[], $2::bigint[], $3::text[], $4::boolean[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[]
    ) AS one (id, job_id, state, tried, status, error, attempts, at)
), held AS MATERIALIZED (
    SELECT id FROM jobs WHERE id IN (SELECT job_id FROM new) ORDER BY id FOR NO KEY UPDATE
)
UPDATE callbacks
SET state = new.state, attempts = callbacks.attempts + new.tried::int,
    last_status = CASE WHEN new.tried THEN new.status ELSE callbacks.last_status END,
    last_error = CASE WHEN new.tried THEN new.error ELSE callbacks.last_error END,
    delivered_at = CASE WHEN new.state = 'delivered' THEN new.at END
FROM new JOIN held ON held.id = new.job_id
WHERE callbacks.id = new.id AND callbacks.state = 'pending'
    AND (new.state <> 'pending' OR callbacks.attempts = new.attempts)
RETURNING callbacks.id

-- name: put_off_line --
UPDATE callback_lines SET due_at = new.due_at, failures = failures + new.tried::int, claimed = false
FROM unnest($1::bigint[], $2::boolean[], $3::bigint[], $4::text[], $5::bigint[])
    AS new (due_at, tried, job_id, endpoint, lane)
WHERE callback_lines.job_id = new.job_id AND callback_lines.endpoint = new.endpoint AND callback_lines.lane = new.lane

-- name: line_waits --
EXISTS (
    SELECT 1 FROM callbacks
    WHERE state = 'pending' AND job_id = callback_lines.job_id AND endpoint = callback_lines.endpoint
        AND lane = callback_lines.lane
)

-- name: advance_line --
-- This goes in one piece with putting off and the next two: no row is for two of them.
UPDATE callback_lines SET due_at = new.due_at, failures = 0, claimed = false
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) AS new (due_at, job_id, endpoint, lane)
WHERE callback_lines.job_id = new.job_id AND callback_lines.endpoint = new.endpoint AND callback_lines.lane = new.lane
    AND {line_waits}

-- name: close_empty_lines --
DELETE FROM callback_lines
USING unnest($1::bigint[], $2::text[]) AS gone (job_id, endpoint)
WHERE callback_lines.job_id = gone.job_id AND callback_lines.endpoint = gone.endpoint AND NOT {line_waits}

-- name: release_job_line --
UPDATE callback_lines SET due_at = new.now
FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS new (now, job_id, endpoint)
WHERE callback_lines.job_id = new.job_id AND callback_lines.endpoint = new.endpoint AND lane = 1
    AND NOT claimed AND failures = 0 AND due_at > new.now AND {line_waits}
    AND NOT EXISTS (
        SELECT 1 FROM callbacks
        WHERE state = 'pending' AND callbacks.job_id = new.job_id AND callbacks.endpoint = new.endpoint AND lane = 0
    )

-- name: kill_callbacks --
WITH new AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) AS one (reason, job_id, endpoint, lane)
), held AS MATERIALIZED (
    SELECT id FROM jobs WHERE id IN (SELECT job_id FROM new) ORDER BY id FOR NO KEY UPDATE
)
UPDATE callbacks SET state = 'dead', last_error = new.reason
FROM new JOIN held ON held.id = new.job_id
WHERE state = 'pending' AND callbacks.job_id = new.job_id AND callbacks.endpoint = new.endpoint
    AND (new.lane IS NULL OR callbacks.lane = new.lane)

-- name: next_callback --
SELECT due_at FROM callback_lines
WHERE endpoint <> ALL($1::text[])
    AND NOT EXISTS (SELECT 1 FROM unnest($2::text[]) AS server WHERE starts_with(endpoint, server))
ORDER BY due_at LIMIT 1

-- name: callbacks --
SELECT callbacks.id, callbacks.endpoint, event, task_id, webhook_id, state, attempts, last_status, last_error,
    created_at, CASE WHEN state = 'pending' THEN due_at END, delivered_at
FROM callbacks
LEFT JOIN callback_lines AS lines
    ON lines.job_id = callbacks.job_id AND lines.endpoint = callbacks.endpoint AND lines.lane = callbacks.lane
WHERE callbacks.job_id = $1 ORDER BY callbacks.id

-- name: replay_one --
WITH chosen AS MATERIALIZED (
    SELECT id, job_id FROM callbacks
    WHERE id = :callback_id::bigint AND state <> 'pending' AND (:job_id::bigint IS NULL OR job_id = :job_id::bigint)
        AND (:since::bigint IS NULL OR created_at >= :since::bigint)
        AND (:client::text IS NULL OR job_id IN (SELECT id FROM jobs WHERE client = :client::text))
), held AS MATERIALIZED (
    SELECT id FROM jobs WHERE id IN (SELECT job_id FROM chosen) ORDER BY id FOR NO KEY UPDATE
)
UPDATE callbacks SET state = 'pending', attempts = 0, waiting_since = :now::bigint, delivered_at = NULL
FROM chosen JOIN held ON held.id = chosen.job_id
WHERE callbacks.id = chosen.id AND callbacks.state <> 'pending'
RETURNING callbacks.id, callbacks.job_id, callbacks.endpoint, callbacks.lane

-- name: replay_dead --
WITH chosen AS MATERIALIZED (
    SELECT id, job_id FROM callbacks
    WHERE state = 'dead' AND id > :after_id::bigint AND (:job_id::bigint IS NULL OR job_id = :job_id::bigint)
        AND (:since::bigint IS NULL OR created_at >= :since::bigint)
        AND (:client::text IS NULL OR job_id IN (SELECT id FROM jobs WHERE client = :client::text))
    ORDER BY id LIMIT :limit::bigint
), held AS MATERIALIZED (
    SELECT id FROM jobs WHERE id IN (SELECT job_id FROM chosen) ORDER BY id FOR NO KEY UPDATE
)
UPDATE callbacks SET state = 'pending', attempts = 0, waiting_since = :now::bigint
FROM chosen JOIN held ON held.id = chosen.job_id
WHERE callbacks.id = chosen.id AND callbacks.state <> 'pending'
RETURNING callbacks.id, callbacks.job_id, callbacks.endpoint, callbacks.lane

-- name: dead_callbacks --
SELECT callbacks.id, callbacks.endpoint, event, task_id, webhook_id, callbacks.state, attempts, last_status, last_error,
    callbacks.created_at, NULL, delivered_at, job_id
FROM callbacks JOIN jobs ON jobs.id = job_id
WHERE callbacks.state = 'dead' AND callbacks.id > :after_id::bigint
    AND (:since::bigint IS NULL OR callbacks.created_at >= :since::bigint)
    AND (:client::text IS NULL OR jobs.client = :client::text)
ORDER BY callbacks.id LIMIT :limit::bigint

-- name: restart_line --
-- A line that has something in flight is left to its sender, a job event that stands back to its patience.
UPDATE callback_lines SET due_at = new.now, failures = 0
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) AS new (now, job_id, endpoint, lane)
WHERE callback_lines.job_id = new.job_id AND callback_lines.endpoint = new.endpoint AND callback_lines.lane = new.lane
    AND NOT claimed AND due_at > new.now
    AND NOT EXISTS (
        SELECT 1 FROM callback_lines AS tasks
        WHERE tasks.job_id = new.job_id AND tasks.endpoint = new.endpoint AND tasks.lane < new.lane
    )

-- name: callback_backlog --
SELECT coalesce((SELECT value FROM counters WHERE scope = 'callbacks' AND name = 'pending'), 0),
    (SELECT min(created_at) FROM callbacks WHERE state = 'pending')
