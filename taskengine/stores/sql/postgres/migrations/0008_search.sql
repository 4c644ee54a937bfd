-- What a search looks through, in small letters and in narrow rows: a search that finds nothing reads them all. The
-- database keeps it, so that it is whole also while the version before still writes jobs.
CREATE TABLE job_texts (
    job_id bigint PRIMARY KEY REFERENCES job_bodies ON DELETE CASCADE,
    content text COLLATE "C" NOT NULL
);

CREATE FUNCTION keep_job_texts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_texts (job_id, content)
    SELECT added.job_id, lower(concat(jobs.content_id, E'\n', added.parameters))
    FROM added JOIN jobs ON jobs.id = added.job_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_job_texts AFTER INSERT ON job_bodies
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION keep_job_texts();

INSERT INTO job_texts (job_id, content)
SELECT jobs.id, lower(concat(jobs.content_id, E'\n', job_bodies.parameters))
FROM jobs JOIN job_bodies ON job_bodies.job_id = jobs.id;
