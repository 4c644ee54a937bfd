-- Dead callbacks are listed and replayed in their order, over all jobs.
CREATE INDEX callbacks_dead_in_order ON callbacks (id) WHERE state = 'dead';
DROP INDEX callbacks_dead;
