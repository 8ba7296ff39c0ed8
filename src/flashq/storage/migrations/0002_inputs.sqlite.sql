-- Jobs that collect the results of their parents.

ALTER TABLE jobs ADD COLUMN collect INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN excess INTEGER NOT NULL DEFAULT 0;

-- What they have collected so far; gone when they have ended.
CREATE TABLE inputs (
    child INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    result TEXT NOT NULL             -- JSON
) STRICT;
CREATE UNIQUE INDEX inputs_by_child ON inputs (child, parent);
