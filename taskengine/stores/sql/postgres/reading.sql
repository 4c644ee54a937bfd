-- Reading jobs, tasks, timers and counters.

-- name: definition --
SELECT name, source FROM definitions WHERE digest = $1

-- name: jobs_of_tasks --
SELECT id, job_id FROM tasks WHERE id = ANY($1::bigint[])

-- name: expired --
SELECT job_id, id, token FROM tasks
WHERE state IN ('dispatched', 'running')
    AND ((state = 'running' AND coalesce(seen_at, attempt_started_at, dispatched_at, 0) < :seen_before)
        OR (state = 'dispatched' AND NOT published AND coalesce(seen_at, dispatched_at, 0) < :published_before))
ORDER BY job_id, id LIMIT :limit::bigint

-- name: unstarted --
SELECT job_id, id, token, queue FROM tasks
WHERE state IN ('dispatched', 'running') AND state = 'dispatched' AND coalesce(seen_at, dispatched_at, 0) < :before
ORDER BY job_id, id LIMIT :limit::bigint

-- name: held --
SELECT job_id, id, token FROM tasks WHERE state IN ('dispatched', 'running') ORDER BY job_id, id

-- name: due --
SELECT id FROM (
    SELECT * FROM (
        SELECT job_id AS id, ready_at AS at FROM tasks
        WHERE state = 'retry_wait' AND ready_at <= :now ORDER BY ready_at LIMIT :limit::bigint
    ) AS retries
    UNION ALL
    SELECT * FROM (
        SELECT id, coalesce(run_at, 0) AS at FROM jobs
        WHERE :scheduled::boolean AND state = 'scheduled' AND semaphore_url IS NULL AND coalesce(run_at, 0) <= :now
        ORDER BY coalesce(run_at, 0) LIMIT :limit::bigint
    ) AS starts
    UNION ALL
    SELECT * FROM (
        SELECT id, deadline_at AS at FROM jobs
        WHERE state = 'started' AND deadline_at IS NOT NULL AND deadline_at <= :now ORDER BY deadline_at LIMIT :limit::bigint
    ) AS jobs_out_of_time
) AS timers
GROUP BY id ORDER BY min(at), id LIMIT :limit::bigint

-- name: next_due --
SELECT min(at) FROM (
    SELECT min(ready_at) AS at FROM tasks WHERE state = 'retry_wait'
    UNION ALL
    SELECT min(coalesce(run_at, 0)) FROM jobs
    WHERE :scheduled::boolean AND state = 'scheduled' AND semaphore_url IS NULL
    UNION ALL
    SELECT min(deadline_at) FROM jobs WHERE state = 'started' AND deadline_at IS NOT NULL
) AS timers

-- name: gated --
SELECT id, client, semaphore_url FROM jobs
WHERE state = 'scheduled' AND semaphore_url IS NOT NULL AND coalesce(run_at, 0) <= $1 ORDER BY coalesce(run_at, 0), id

-- name: next_gated --
SELECT coalesce(run_at, 0) FROM jobs
WHERE state = 'scheduled' AND semaphore_url IS NOT NULL AND coalesce(run_at, 0) > $1 ORDER BY coalesce(run_at, 0) LIMIT 1

-- name: ready_queues --
SELECT substr(scope, 7) FROM counters WHERE scope LIKE 'queue:%' AND name = 'ready' AND value > 0 ORDER BY scope

-- name: pending_after --
-- A job that is awaited and was cleaned away has ended.
SELECT jobs.id, jobs.awaited FROM jobs
LEFT JOIN LATERAL json_array_elements_text(jobs.awaited::json) AS one ON true
LEFT JOIN jobs AS other ON other.id = one::bigint
WHERE jobs.state = 'pending'
GROUP BY jobs.id
HAVING bool_and(coalesce(other.state IN ('completed', 'broken'), true))
    OR bool_or(coalesce(other.state = 'broken' OR (other.state = 'completed' AND other.failed), false))
ORDER BY jobs.id

-- name: job --
SELECT {job_columns} FROM jobs JOIN job_bodies ON job_bodies.job_id = jobs.id WHERE jobs.id = $1

-- name: workspace_user --
SELECT {job_columns} FROM jobs JOIN job_bodies ON job_bodies.job_id = jobs.id
WHERE jobs.id = (
    SELECT max(id) FROM (
        SELECT id FROM jobs WHERE id = $1 UNION ALL SELECT id FROM jobs WHERE workspace_of = $1
    ) AS users
)

-- name: jobs_columns --
SELECT {job_columns}

-- name: with_body --
JOIN job_bodies ON job_bodies.job_id = jobs.id

-- name: page_from --
SELECT * FROM jobs

-- name: where_client --
client = :client

-- name: where_state --
state = :state

-- name: where_states --
state = ANY(:states::text[])

-- name: where_failed --
failed = :failed

-- name: where_created_from --
created_at >= :created_from

-- name: where_created_to --
created_at <= :created_to

-- name: searched_from --
FROM jobs JOIN job_bodies ON job_bodies.job_id = jobs.id JOIN job_texts ON job_texts.job_id = jobs.id

-- name: search_hits --
-- `strpos` takes two thirds of the time of LIKE, which the planner can judge: it is for searches that many jobs fulfil.
SELECT job_id FROM job_texts WHERE strpos(content, lower(:text::text)) > 0 ORDER BY job_id DESC LIMIT :most

-- name: where_search --
content LIKE lower(:search::text) ESCAPE '\'

-- name: where_found --
jobs.id = ANY(:found::bigint[])

-- name: where_named --
workflow = ANY(:named::text[])

-- name: workflows_of_jobs --
-- From one to the next by the index, however many jobs each has.
WITH RECURSIVE one AS (
    SELECT min(workflow) AS workflow FROM jobs
    UNION ALL SELECT (SELECT min(workflow) FROM jobs WHERE workflow > one.workflow) FROM one WHERE one.workflow IS NOT NULL
)
SELECT workflow FROM one WHERE workflow IS NOT NULL

-- name: where_job_ids --
jobs.id = ANY(:job_ids::bigint[])

-- name: where_persist --
persist = :persist

-- name: where_workflow --
workflow = :workflow

-- name: where_priority --
priority = :priority

-- name: where_tag --
tags <> '[]' AND tags::jsonb @> jsonb_build_array(:tag::text)

-- name: order_id --
jobs.id

-- name: order_created_at --
created_at

-- name: order_updated_at --
updated_at

-- name: order_priority --
priority

-- name: order_run_at --
coalesce(run_at, -1)

-- name: order_started_at --
coalesce(started_at, -1)

-- name: order_completed_at --
coalesce(completed_at, -1)

-- name: cursor_created_at --
SELECT {order_created_at}, id FROM jobs WHERE id = :after_id

-- name: cursor_updated_at --
SELECT {order_updated_at}, id FROM jobs WHERE id = :after_id

-- name: cursor_priority --
SELECT {order_priority}, id FROM jobs WHERE id = :after_id

-- name: cursor_run_at --
SELECT {order_run_at}, id FROM jobs WHERE id = :after_id

-- name: cursor_started_at --
SELECT {order_started_at}, id FROM jobs WHERE id = :after_id

-- name: cursor_completed_at --
SELECT {order_completed_at}, id FROM jobs WHERE id = :after_id

-- name: tasks_of_job --
SELECT {task_columns} FROM tasks WHERE job_id = $1 ORDER BY id

-- name: task --
SELECT {task_columns} FROM tasks WHERE id = $1

-- name: attempts_of_tasks --
SELECT task_id, attempt, token, worker, started_at, ended_at, outcome, error, error_kind, exit_code, process_s
FROM attempts WHERE task_id = ANY($1::bigint[]) ORDER BY task_id, attempt

-- name: progress --
-- What was skipped is no work; where nothing else is, all of it is done.
SELECT job_id, coalesce(
    sum(weight * CASE WHEN state = 'completed' THEN 1.0 ELSE progress END) FILTER (WHERE state <> 'skipped')
        / sum(weight) FILTER (WHERE state <> 'skipped'),
    1.0
) FROM tasks
WHERE job_id = ANY($1::bigint[]) AND NOT on_failure GROUP BY job_id

-- name: scheduled --
-- Both kinds by their own index.
SELECT id FROM (
    SELECT * FROM (
        SELECT id, priority, coalesce(run_at, 0) AS at FROM jobs
        WHERE state = 'scheduled' AND semaphore_url IS NULL AND (:client::text IS NULL OR client = :client::text)
        ORDER BY coalesce(run_at, 0) LIMIT :limit::bigint
    ) AS timed
    UNION ALL
    SELECT * FROM (
        SELECT id, priority, coalesce(run_at, 0) AS at FROM jobs
        WHERE state = 'scheduled' AND semaphore_url IS NOT NULL AND (:client::text IS NULL OR client = :client::text)
        ORDER BY coalesce(run_at, 0) LIMIT :limit::bigint
    ) AS gated
) AS heads
ORDER BY at, priority, id LIMIT :limit::bigint

-- name: positions --
-- The jobs in blocks before the job's own (all are summed once), and those up to it in its block.
WITH wanted AS MATERIALIZED (
    SELECT id, jobs.top_of_queue::int AS top, priority, id / $2::bigint AS block FROM jobs WHERE id = ANY($1::bigint[]) AND state = 'queued'
), before AS MATERIALIZED (
    SELECT top_of_queue AS top, priority, block, sum(value) OVER (
        ORDER BY top_of_queue DESC, priority, block ROWS UNBOUNDED PRECEDING
    ) - value AS jobs FROM queued_blocks
), within AS MATERIALIZED (
    SELECT jobs.id, row_number() OVER (PARTITION BY one.top, one.priority, one.block ORDER BY jobs.id) AS place
    FROM (SELECT DISTINCT top, priority, block FROM wanted) AS one
    JOIN jobs ON jobs.state = 'queued' AND jobs.top_of_queue = (one.top = 1) AND jobs.priority = one.priority
        AND jobs.id BETWEEN one.block * $2::bigint AND one.block * $2::bigint + $2::bigint - 1
)
SELECT wanted.id, (before.jobs + within.place)::bigint FROM wanted
JOIN within ON within.id = wanted.id
JOIN before ON before.top = wanted.top AND before.priority = wanted.priority AND before.block = wanted.block

-- name: logs --
SELECT id, job_id, task_id, severity, progname, message, created_at, visible FROM logs
WHERE job_id = :job_id AND id > :after_id
    AND (:show_all::boolean OR visible)
    AND (:severity::bigint IS NULL OR severity = :severity::bigint)
    AND (:task_id::bigint IS NULL OR coalesce(task_id, 0) = :task_id::bigint)
ORDER BY id LIMIT :limit::bigint

-- name: job_counters --
SELECT name, sum(value)::bigint FROM counters WHERE scope LIKE 'jobs:%' GROUP BY name

-- name: job_counters_of_client --
SELECT name, value FROM counters WHERE scope = 'jobs:' || $1::text

-- name: task_counters --
SELECT name, value FROM counters WHERE scope = 'tasks'

-- name: queue_counters --
SELECT substr(scope, 7), name, value FROM counters WHERE scope LIKE 'queue:%'

-- name: workers --
SELECT id, name, language, queues, seen_at, sandbox FROM workers ORDER BY name COLLATE "C", id COLLATE "C"

-- name: held_by_worker --
SELECT worker_id, count(*) FROM tasks
WHERE state IN ('dispatched', 'running') AND state = 'running' AND worker_id IS NOT NULL GROUP BY worker_id

-- name: meta --
SELECT value FROM meta WHERE name = $1

-- name: event_columns --
id, job_id, task_id, client, workflow, task_name, kind, name, seq, at, body

-- name: events_after --
SELECT {event_columns} FROM events WHERE id > $1 ORDER BY id LIMIT $2::bigint

-- name: events_of_job --
SELECT {event_columns} FROM events WHERE id > $1 AND job_id = $3 ORDER BY id LIMIT $2::bigint

-- name: events_of_client --
SELECT {event_columns} FROM events WHERE id > $1 AND client = $3 ORDER BY id LIMIT $2::bigint

-- name: last_event --
SELECT max(id) FROM events

-- name: schema --
SELECT name, checksum FROM migrations UNION ALL SELECT name, value FROM meta WHERE name = 'least_schema'
