-- Who did what, when. Kept as long as the settings say; numbered in the order in which it happened.

ALTER TABLE meta ADD COLUMN audited INTEGER NOT NULL DEFAULT 0;  -- number of the newest row in audit and operations

-- What happened to jobs: one row for all jobs from first to last, up to a batch of them.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    queue TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    attempt INTEGER NOT NULL,        -- 0 = about none
    worker TEXT,
    by_name TEXT NOT NULL,
    peer TEXT,
    door TEXT,
    detail TEXT
) STRICT;
CREATE INDEX audit_by_job ON audit (first);
CREATE INDEX audit_by_batch ON audit (first, last) WHERE last > first;

-- What operators did.
CREATE TABLE operations (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    target TEXT,
    by_name TEXT NOT NULL,
    peer TEXT,
    door TEXT,
    detail TEXT                      -- JSON
) STRICT;
CREATE INDEX operations_start ON operations (number) WHERE action = 'START';
