-- Schedules that submit jobs.

-- name: recurring_columns --
client, name, cron, time_zone, body, active, next_at, created_at, last_at, last_job_id, last_error

-- name: recurring --
SELECT {recurring_columns} FROM recurring ORDER BY client, name

-- name: is_recurring --
SELECT 1 FROM recurring WHERE client = ? AND name = ?

-- name: save_recurring --
INSERT INTO recurring (client, name, cron, time_zone, body, active, next_at, created_at)
SELECT name, :name, :cron, :time_zone, :body, :active, :next_at, :created_at FROM clients WHERE name = :client
ON CONFLICT (client, name) DO UPDATE
SET cron = excluded.cron, time_zone = excluded.time_zone, body = excluded.body, active = excluded.active,
    next_at = excluded.next_at

-- name: switch_recurring --
UPDATE recurring SET active = ?, next_at = ? WHERE client = ? AND name = ?

-- name: move_recurring --
UPDATE recurring SET next_at = :next_at, last_at = :last_at, last_job_id = :last_job_id, last_error = :last_error
WHERE client = :client AND name = :name AND next_at IS :was AND active = 1

-- name: delete_recurring --
DELETE FROM recurring WHERE client = ? AND name = ?
