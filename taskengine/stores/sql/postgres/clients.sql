-- Tenants, their keys and settings.

-- name: clients --
SELECT name, role, config, created_at FROM clients ORDER BY name COLLATE "C"

-- name: client --
SELECT name, role, config, created_at FROM clients WHERE name = $1

-- name: save_client --
INSERT INTO clients (name, role, config, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET role = excluded.role, config = excluded.config

-- name: delete_client --
DELETE FROM clients WHERE name = $1

-- name: delete_settings --
DELETE FROM settings WHERE scope = $1

-- name: add_key --
INSERT INTO api_keys (client, digest, created_at)
SELECT name, :digest::text, :now::bigint FROM clients WHERE name = :client
RETURNING id

-- name: revoke_key --
UPDATE api_keys SET revoked_at = coalesce(revoked_at, $1::bigint) WHERE client = $2 AND id = $3

-- name: keys --
SELECT id, client, digest, created_at, revoked_at FROM api_keys ORDER BY client COLLATE "C", id

-- name: keys_of_client --
SELECT id, client, digest, created_at, revoked_at FROM api_keys WHERE client = $1 ORDER BY id

-- name: settings --
SELECT scope, name, value FROM settings

-- name: setting --
SELECT value FROM settings WHERE scope = $1 AND name = $2

-- name: save_setting --
INSERT INTO settings (scope, name, value) VALUES ($1, $2, $3) ON CONFLICT (scope, name) DO UPDATE SET value = excluded.value
