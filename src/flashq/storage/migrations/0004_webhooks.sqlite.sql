-- Who is told of events by HTTP, and the calls that are still owed to them.

CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    events TEXT NOT NULL,            -- JSON list of words; empty = all
    queue TEXT,                      -- NULL = all
    secret TEXT,                     -- signs the calls; needed as it is, so stored as it is
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_calls (
    number INTEGER PRIMARY KEY,
    webhook TEXT NOT NULL,
    body TEXT NOT NULL               -- JSON, byte for byte as it is sent
) STRICT;
