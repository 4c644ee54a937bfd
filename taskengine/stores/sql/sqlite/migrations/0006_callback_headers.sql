-- Headers that a workflow adds to its callbacks: a JSON object; NULL where there are none.
ALTER TABLE callbacks ADD COLUMN headers TEXT;
