-- The queue's lock and, after it, what is next: two statements, of which the second sees what the holder before has
-- committed, in one round trip. Whoever holds the lock keeps all others that hand out waiting.
CREATE FUNCTION queue_turn(of_queue text, most bigint)
RETURNS TABLE (under_way bigint, top_of_queue boolean, priority bigint, job_id bigint, id bigint) LANGUAGE plpgsql AS $$
DECLARE
    held bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('queue:' || of_queue, 0));
    SELECT value INTO held FROM counters WHERE scope = 'queue:' || of_queue AND name = 'dispatched';
    RETURN QUERY
    SELECT held, ahead.top_of_queue, ahead.priority, ahead.job_id, ahead.id
    FROM (SELECT 1) AS one LEFT JOIN (
        SELECT tasks.top_of_queue, tasks.priority, tasks.job_id, tasks.id FROM tasks
        WHERE tasks.state = 'ready' AND tasks.queue = of_queue
        ORDER BY tasks.top_of_queue DESC, tasks.priority, tasks.job_id, tasks.id
        LIMIT greatest(0, most - coalesce(held, 0))
    ) AS ahead ON true;
END
$$;
