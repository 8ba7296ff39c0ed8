"""Stories of the queue as plain text, for people to read; each is also a test."""
