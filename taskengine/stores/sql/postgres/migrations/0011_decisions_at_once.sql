-- Ends a statement that finds something otherwise than the decision which it writes had seen it.
CREATE FUNCTION overtaken() RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'overtaken' USING ERRCODE = 'TE001';
END
$$;
