-- What a schedule gives to each of its jobs, besides payload and priority. NULL = not said.

ALTER TABLE crons ADD COLUMN timeout INTEGER;
ALTER TABLE crons ADD COLUMN ttl INTEGER;
ALTER TABLE crons ADD COLUMN backoff INTEGER;
ALTER TABLE crons ADD COLUMN max_attempts INTEGER;
ALTER TABLE crons ADD COLUMN unique_key TEXT;
ALTER TABLE crons ADD COLUMN tags TEXT;  -- JSON list of words
