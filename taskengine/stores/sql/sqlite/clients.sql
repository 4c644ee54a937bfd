-- Tenants, their keys and settings.

-- name: clients --
SELECT name, role, config, created_at FROM clients ORDER BY name

-- name: client --
SELECT name, role, config, created_at FROM clients WHERE name = ?

-- name: save_client --
INSERT INTO clients (name, role, config, created_at) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET role = excluded.role, config = excluded.config

-- name: delete_client --
DELETE FROM clients WHERE name = ?

-- name: delete_settings --
DELETE FROM settings WHERE scope = ?

-- name: add_key --
INSERT INTO api_keys (client, digest, created_at)
SELECT name, :digest, :now FROM clients WHERE name = :client
RETURNING id

-- name: revoke_key --
UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE client = ? AND id = ?

-- name: keys --
SELECT id, client, digest, created_at, revoked_at FROM api_keys ORDER BY client, id

-- name: keys_of_client --
SELECT id, client, digest, created_at, revoked_at FROM api_keys WHERE client = ? ORDER BY id

-- name: settings --
SELECT scope, name, value FROM settings

-- name: setting --
SELECT value FROM settings WHERE scope = ? AND name = ?

-- name: save_setting --
INSERT INTO settings (scope, name, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value
