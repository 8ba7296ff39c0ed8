-- The first schema. Times are milliseconds since the Unix epoch, durations milliseconds; 0 = never or none.
-- The members of the rows are described in src/flashq/engine/records.py.

-- One row: where this database stands.
CREATE TABLE meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    epoch INTEGER NOT NULL,          -- number of the newest start; part of every token
    folded INTEGER NOT NULL,         -- the newest group that is in the tables
    next_id INTEGER NOT NULL,        -- the rest of the row is as of that group
    completions INTEGER NOT NULL,
    forget INTEGER NOT NULL,
    forget_results INTEGER NOT NULL,
    dropped INTEGER NOT NULL,        -- number of the newest row in dropped
    synced INTEGER NOT NULL          -- relaxed durability: the newest group of the last sync
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 1, 0, 0, 0, 0, 0);

-- One row a commit, until it is folded into the tables below.
CREATE TABLE journal (
    number INTEGER PRIMARY KEY,
    blob BLOB NOT NULL
) STRICT;

-- One row a job, live or remembered. An active job is stored as it waited.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    state INTEGER NOT NULL,          -- the view job_list has it as a word
    priority INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    backoff INTEGER NOT NULL,
    ttl INTEGER NOT NULL,
    timeout INTEGER NOT NULL,
    data TEXT NOT NULL,              -- JSON, byte for byte as it was sent
    unique_key TEXT,
    custom_id TEXT,
    depends_on TEXT,                 -- JSON list of ids
    tags TEXT,                       -- JSON list of words
    progress INTEGER NOT NULL DEFAULT 0,
    message TEXT,
    fence_epoch INTEGER NOT NULL DEFAULT 0,
    fence_serial INTEGER NOT NULL DEFAULT 0,
    returns INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    done_at INTEGER NOT NULL DEFAULT 0,
    token TEXT,
    result TEXT                      -- JSON
) STRICT;
-- Completed jobs are forgotten in the order in which they completed.
CREATE INDEX jobs_by_completion ON jobs (done) WHERE done > 0;

CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL,
    rate_limit INTEGER NOT NULL,
    concurrency_limit INTEGER NOT NULL,
    pushed INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    purged INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE crons (
    name TEXT PRIMARY KEY,
    queue TEXT NOT NULL,
    data TEXT NOT NULL,
    schedule TEXT NOT NULL,
    priority INTEGER NOT NULL,
    timezone TEXT NOT NULL,
    next_run INTEGER NOT NULL,
    last_run INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Ids that ended without completing, numbered in their order.
CREATE TABLE dropped (
    number INTEGER PRIMARY KEY,
    id INTEGER NOT NULL
) STRICT;

-- For people.
CREATE VIEW job_list AS
SELECT
    id,
    queue,
    CASE state
        WHEN 1 THEN 'waiting'
        WHEN 2 THEN 'delayed'
        WHEN 4 THEN 'completed'
        WHEN 5 THEN 'failed'
        WHEN 6 THEN 'waiting-children'
        ELSE 'unknown'
    END AS state,
    priority,
    attempts,
    datetime(created_at / 1000, 'unixepoch') AS created,
    datetime(run_at / 1000, 'unixepoch') AS runs,
    CASE WHEN done_at > 0 THEN datetime(done_at / 1000, 'unixepoch') END AS completed,
    message,
    data,
    result
FROM jobs;
