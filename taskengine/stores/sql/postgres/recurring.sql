-- Schedules that submit jobs.

-- name: recurring_columns --
client, name, cron, time_zone, body, active, next_at, created_at, last_at, last_job_id, last_error

-- name: recurring --
SELECT {recurring_columns} FROM recurring ORDER BY client COLLATE "C", name COLLATE "C"

-- name: is_recurring --
SELECT 1 FROM recurring WHERE client = $1 AND name = $2

-- name: save_recurring --
INSERT INTO recurring (client, name, cron, time_zone, body, active, next_at, created_at)
SELECT name, :name::text, :cron::text, :time_zone::text, :body::text, :active::boolean, :next_at::bigint,
    :created_at::bigint
FROM clients WHERE name = :client::text
ON CONFLICT (client, name) DO UPDATE
SET cron = excluded.cron, time_zone = excluded.time_zone, body = excluded.body, active = excluded.active,
    next_at = excluded.next_at

-- name: switch_recurring --
UPDATE recurring SET active = $1, next_at = $2::bigint WHERE client = $3 AND name = $4

-- name: move_recurring --
UPDATE recurring
SET next_at = :next_at::bigint, last_at = :last_at::bigint, last_job_id = :last_job_id::bigint,
    last_error = :last_error::text
WHERE client = :client::text AND name = :name::text AND next_at IS NOT DISTINCT FROM :was::bigint AND active

-- name: delete_recurring --
DELETE FROM recurring WHERE client = $1 AND name = $2
