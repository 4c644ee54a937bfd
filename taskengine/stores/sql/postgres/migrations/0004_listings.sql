-- Lists of jobs by workflow and by tag that cost the same however many jobs have others. Most jobs have no tags.
CREATE INDEX jobs_by_workflow ON jobs (workflow, id);
CREATE INDEX jobs_by_tag ON jobs USING gin ((tags::jsonb) jsonb_path_ops) WHERE tags <> '[]';
