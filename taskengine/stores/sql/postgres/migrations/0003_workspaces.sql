-- A job that was rerun from what failed goes on in the workspace of the job that had it first. NULL: it has its own.
ALTER TABLE jobs ADD COLUMN workspace_of bigint;
CREATE INDEX jobs_by_workspace ON jobs (workspace_of) WHERE workspace_of IS NOT NULL;
