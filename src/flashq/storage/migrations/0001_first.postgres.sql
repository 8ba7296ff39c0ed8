-- The first schema, everything in the schema "flashq". The tables are those of the SQLite database; times are
-- milliseconds since the Unix epoch, durations milliseconds; 0 = never or none. The members of the rows are described
-- in src/flashq/engine/records.py. Integers are BIGINT throughout: ids go up to 2^53.
--
-- JSON is TEXT: it is kept byte for byte as it was sent, which jsonb would not do, and jsonb refuses \u0000. People can
-- read it as it is, or cast it. In texts that are not JSON a zero byte, which PostgreSQL cannot store, is 0x1A "0", and
-- 0x1A is 0x1A 0x1A.

-- Who may write. One row.
CREATE TABLE lease (
    shard INTEGER PRIMARY KEY,
    epoch BIGINT NOT NULL,           -- number of the newest start; part of every token
    owner TEXT NOT NULL,             -- for people
    instance TEXT NOT NULL,          -- proves to the next start in the same folder that this one is dead
    expires TIMESTAMPTZ NOT NULL,    -- by the clock of this database
    -- This makes the epoch part of a key. So a commit, which locks the row FOR KEY SHARE, waits for a change of the
    -- epoch and holds one up, but neither waits for a renewal nor delays one.
    UNIQUE (shard, epoch)
) WITH (fillfactor = 10);            -- one row, changed every second: room for its versions in one page
INSERT INTO lease VALUES (0, 0, '', '', '-infinity');

-- One row: where this database stands.
CREATE TABLE meta (
    shard INTEGER PRIMARY KEY,
    identity UUID NOT NULL DEFAULT gen_random_uuid(),
    folded BIGINT NOT NULL,          -- the newest group that is in the tables
    next_id BIGINT NOT NULL,         -- the rest of the row is as of that group
    completions BIGINT NOT NULL,
    forget BIGINT NOT NULL,
    forget_results BIGINT NOT NULL,
    dropped BIGINT NOT NULL,         -- number of the newest row in dropped
    audited BIGINT NOT NULL,         -- number of the newest row in audit and operations
    synced BIGINT NOT NULL           -- relaxed durability: the newest group of the last sync
);
INSERT INTO meta (shard, folded, next_id, completions, forget, forget_results, dropped, audited, synced)
VALUES (0, 0, 1, 0, 0, 0, 0, 0, 0);

-- One row a commit, until it is folded into the tables below. Not compressed: it is read once and soon gone, and
-- compressing took longer than writing it. Every row is deleted, so vacuum follows the deletions, not the size.
CREATE TABLE journal (
    number BIGINT PRIMARY KEY,
    blob BYTEA NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 50000
);
ALTER TABLE journal ALTER COLUMN blob SET STORAGE EXTERNAL;

-- One row a job, live or remembered. An active job is stored as it waited. A tenth of each page is left for rows that
-- change, and vacuum comes at a tenth of dead rows: jobs come and go.
CREATE TABLE jobs (
    id BIGINT PRIMARY KEY,
    queue TEXT NOT NULL,
    state BIGINT NOT NULL,           -- the view job_list has it as a word
    priority BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    started_at BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    max_attempts BIGINT NOT NULL,
    backoff BIGINT NOT NULL,
    ttl BIGINT NOT NULL,
    timeout BIGINT NOT NULL,
    data TEXT NOT NULL,              -- JSON, byte for byte as it was sent
    unique_key TEXT,
    custom_id TEXT,
    depends_on TEXT,                 -- JSON list of ids
    tags TEXT,                       -- JSON list of words
    progress BIGINT NOT NULL DEFAULT 0,
    message TEXT,
    fence_epoch BIGINT NOT NULL DEFAULT 0,
    fence_serial BIGINT NOT NULL DEFAULT 0,
    returns BIGINT NOT NULL DEFAULT 0,
    done BIGINT NOT NULL DEFAULT 0,
    done_at BIGINT NOT NULL DEFAULT 0,
    token TEXT,
    result TEXT,                     -- JSON
    collect BOOLEAN NOT NULL DEFAULT false,
    excess BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 10000);
-- Completed jobs are forgotten in the order in which they completed.
CREATE INDEX jobs_by_completion ON jobs (done) WHERE done > 0;

-- What jobs have collected so far of their parents' results; gone when they have ended.
CREATE TABLE inputs (
    child BIGINT NOT NULL,
    parent BIGINT NOT NULL,
    result TEXT NOT NULL,            -- JSON
    PRIMARY KEY (child, parent)
);

CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    paused BOOLEAN NOT NULL,
    rate_limit BIGINT NOT NULL,
    concurrency_limit BIGINT NOT NULL,
    pushed BIGINT NOT NULL,
    completed BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    expired BIGINT NOT NULL,
    purged BIGINT NOT NULL
);

-- Behind last_run stands what a schedule gives to each of its jobs. NULL = not said.
CREATE TABLE crons (
    name TEXT PRIMARY KEY,
    queue TEXT NOT NULL,
    data TEXT NOT NULL,
    schedule TEXT NOT NULL,
    priority BIGINT NOT NULL,
    timezone TEXT NOT NULL,
    next_run BIGINT NOT NULL,
    last_run BIGINT NOT NULL,
    timeout BIGINT,
    ttl BIGINT,
    backoff BIGINT,
    max_attempts BIGINT,
    unique_key TEXT,
    tags TEXT                        -- JSON list of words
);

-- Ids that ended without completing, numbered in their order.
CREATE TABLE dropped (
    number BIGINT PRIMARY KEY,
    id BIGINT NOT NULL
);

-- Who is told of events by HTTP, and the calls that are still owed to them.
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    events TEXT NOT NULL,            -- JSON list of words; empty = all
    queue TEXT,                      -- NULL = all
    secret TEXT,                     -- signs the calls; needed as it is, so stored as it is
    created_at BIGINT NOT NULL
);
CREATE TABLE webhook_calls (
    number BIGINT PRIMARY KEY,
    webhook TEXT NOT NULL,
    body TEXT NOT NULL               -- JSON, byte for byte as it is sent
);

-- What happened to jobs: one row for all jobs from first to last, up to a batch of them. Numbered, with the operations,
-- in the order in which it happened; kept as long as the settings say.
CREATE TABLE audit (
    number BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    queue TEXT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    attempt BIGINT NOT NULL,         -- 0 = about none
    worker TEXT,
    by_name TEXT NOT NULL,
    peer TEXT,
    door TEXT,
    detail TEXT
);
CREATE INDEX audit_by_job ON audit (first);
CREATE INDEX audit_by_batch ON audit (first, last) WHERE last > first;

-- What operators did.
CREATE TABLE operations (
    number BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    target TEXT,
    by_name TEXT NOT NULL,
    peer TEXT,
    door TEXT,
    detail TEXT                      -- JSON
);
CREATE INDEX operations_start ON operations (number) WHERE action = 'START';

-- Refuses whoever is not the owner any more. Until the end of the transaction nobody else can become it.
CREATE FUNCTION fence(p_shard INTEGER, p_epoch BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM flashq.lease WHERE shard = p_shard AND epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'epoch % is not the owner', p_epoch USING ERRCODE = 'FQ001';
    END IF;
END $$;

-- A commit, whole, in one statement. A group that is remembered already changes nothing, so whoever does not know
-- whether it was can ask again.
CREATE FUNCTION commit_group(p_shard INTEGER, p_epoch BIGINT, p_number BIGINT, p_blob BYTEA) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    v_folded BIGINT;
BEGIN
    PERFORM FROM flashq.lease WHERE shard = p_shard AND epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'epoch % is not the owner', p_epoch USING ERRCODE = 'FQ001';
    END IF;
    SELECT folded INTO STRICT v_folded FROM flashq.meta WHERE shard = p_shard;
    IF p_number <= v_folded THEN
        RETURN;
    END IF;
    IF p_number <> v_folded + 1 AND NOT EXISTS (SELECT FROM flashq.journal WHERE number = p_number - 1) THEN
        RAISE EXCEPTION 'group % is missing', p_number - 1 USING ERRCODE = 'FQ002';
    END IF;
    INSERT INTO flashq.journal (number, blob) VALUES (p_number, p_blob) ON CONFLICT (number) DO NOTHING;
END $$;

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
    to_timestamp(created_at / 1000.0) AS created,
    to_timestamp(run_at / 1000.0) AS runs,
    CASE WHEN done_at > 0 THEN to_timestamp(done_at / 1000.0) END AS completed,
    message,
    data,
    result
FROM jobs;
