-- How far an import is that has not come to its end; empty: there is none. Nothing is served meanwhile.

ALTER TABLE meta ADD COLUMN importing TEXT NOT NULL DEFAULT '';
