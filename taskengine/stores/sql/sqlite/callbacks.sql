-- Undelivered callbacks: a line per (job, endpoint, lane) with one clock.

-- name: insert_callback --
INSERT INTO callbacks (
    job_id, endpoint, lane, event, task_id, webhook_id, body, created_at, waiting_since, headers, state
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, 'pending')

-- name: open_line --
-- A job event stands back, for the time of patience, where task events of its endpoint are undelivered.
INSERT INTO callback_lines (job_id, endpoint, lane, due_at)
SELECT ?1, ?2, ?3, ?4 + ?5 * EXISTS (
    SELECT 1 FROM callback_lines WHERE job_id = ?1 AND endpoint = ?2 AND lane < ?3
)
WHERE true
ON CONFLICT DO NOTHING

-- name: due_lines --
SELECT id FROM callback_lines
WHERE due_at <= :now AND endpoint NOT IN (SELECT value FROM json_each(:endpoints))
    AND NOT EXISTS (SELECT 1 FROM json_each(:servers) WHERE substr(endpoint, 1, length(value)) = value)
ORDER BY due_at, id LIMIT :limit

-- name: line_heads --
SELECT head.id, head.job_id, jobs.client, head.endpoint, head.event, head.webhook_id, head.body,
    head.created_at, head.attempts, lines.failures, head.waiting_since, jobs.traceparent, head.headers
FROM callback_lines AS lines
JOIN callbacks AS head ON head.id = (
    SELECT min(id) FROM callbacks
    WHERE state = 'pending' AND job_id = lines.job_id AND endpoint = lines.endpoint AND lane = lines.lane
)
JOIN jobs ON jobs.id = lines.job_id
WHERE lines.id IN (SELECT value FROM json_each(?))
ORDER BY lines.due_at, lines.id

-- name: claim_line --
UPDATE callback_lines SET due_at = ?, claimed = 1 WHERE id = ?

-- name: release_claims --
UPDATE callback_lines SET due_at = ?1, claimed = 0 WHERE claimed = 1

-- name: settle --
-- Where it was given back untried, nothing is said of a try; what is to be tried again counts once.
UPDATE callbacks
SET state = ?3, attempts = attempts + ?4,
    last_status = CASE WHEN ?4 THEN ?5 ELSE last_status END,
    last_error = CASE WHEN ?4 THEN ?6 ELSE last_error END,
    delivered_at = CASE WHEN ?3 = 'delivered' THEN ?8 END
WHERE id = ?1 AND job_id = ?2 AND state = 'pending' AND (?3 <> 'pending' OR attempts = ?7)
RETURNING id

-- name: put_off_line --
UPDATE callback_lines SET due_at = ?1, failures = failures + ?2, claimed = 0
WHERE job_id = ?3 AND endpoint = ?4 AND lane = ?5

-- name: line_waits --
EXISTS (
    SELECT 1 FROM callbacks
    WHERE state = 'pending' AND job_id = callback_lines.job_id AND endpoint = callback_lines.endpoint
        AND lane = callback_lines.lane
)

-- name: advance_line --
UPDATE callback_lines SET due_at = ?1, failures = 0, claimed = 0
WHERE job_id = ?2 AND endpoint = ?3 AND lane = ?4 AND {line_waits}

-- name: close_empty_lines --
DELETE FROM callback_lines WHERE job_id = ?1 AND endpoint = ?2 AND NOT {line_waits}

-- name: release_job_line --
UPDATE callback_lines SET due_at = ?1
WHERE job_id = ?2 AND endpoint = ?3 AND lane = 1 AND claimed = 0 AND failures = 0 AND due_at > ?1 AND {line_waits}
    AND NOT EXISTS (SELECT 1 FROM callbacks WHERE state = 'pending' AND job_id = ?2 AND endpoint = ?3 AND lane = 0)

-- name: kill_callbacks --
UPDATE callbacks SET state = 'dead', last_error = ?1
WHERE state = 'pending' AND job_id = ?2 AND endpoint = ?3 AND (?4 IS NULL OR lane = ?4)

-- name: next_callback --
SELECT due_at FROM callback_lines
WHERE endpoint NOT IN (SELECT value FROM json_each(?1))
    AND NOT EXISTS (SELECT 1 FROM json_each(?2) WHERE substr(endpoint, 1, length(value)) = value)
ORDER BY due_at LIMIT 1

-- name: callbacks --
SELECT callbacks.id, callbacks.endpoint, event, task_id, webhook_id, state, attempts, last_status, last_error,
    created_at, CASE WHEN state = 'pending' THEN due_at END, delivered_at
FROM callbacks
LEFT JOIN callback_lines AS lines
    ON lines.job_id = callbacks.job_id AND lines.endpoint = callbacks.endpoint AND lines.lane = callbacks.lane
WHERE callbacks.job_id = ? ORDER BY callbacks.id

-- name: replay_one --
UPDATE callbacks SET state = 'pending', attempts = 0, waiting_since = :now, delivered_at = NULL
WHERE id = :callback_id AND state <> 'pending' AND (:job_id IS NULL OR job_id = :job_id)
    AND (:since IS NULL OR created_at >= :since)
    AND (:client IS NULL OR job_id IN (SELECT id FROM jobs WHERE client = :client))
RETURNING id, job_id, endpoint, lane

-- name: replay_dead --
UPDATE callbacks SET state = 'pending', attempts = 0, waiting_since = :now
WHERE id IN (
    SELECT id FROM callbacks
    WHERE state = 'dead' AND id > :after_id AND (:job_id IS NULL OR job_id = :job_id)
        AND (:since IS NULL OR created_at >= :since)
        AND (:client IS NULL OR job_id IN (SELECT id FROM jobs WHERE client = :client))
    ORDER BY id LIMIT :limit
)
RETURNING id, job_id, endpoint, lane

-- name: dead_callbacks --
SELECT callbacks.id, callbacks.endpoint, event, task_id, webhook_id, callbacks.state, attempts, last_status, last_error,
    callbacks.created_at, NULL, delivered_at, job_id
FROM callbacks JOIN jobs ON jobs.id = job_id
WHERE callbacks.state = 'dead' AND callbacks.id > :after_id AND (:since IS NULL OR callbacks.created_at >= :since)
    AND (:client IS NULL OR jobs.client = :client)
ORDER BY callbacks.id LIMIT :limit

-- name: restart_line --
-- A line that has something in flight is left to its sender, a job event that stands back to its patience.
UPDATE callback_lines SET due_at = ?1, failures = 0
WHERE job_id = ?2 AND endpoint = ?3 AND lane = ?4 AND claimed = 0 AND due_at > ?1
    AND NOT EXISTS (SELECT 1 FROM callback_lines WHERE job_id = ?2 AND endpoint = ?3 AND lane < ?4)

-- name: callback_backlog --
SELECT coalesce((SELECT value FROM counters WHERE scope = 'callbacks' AND name = 'pending'), 0),
    (SELECT min(created_at) FROM callbacks WHERE state = 'pending')
