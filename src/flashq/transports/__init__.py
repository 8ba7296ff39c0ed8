"""The doors: bytes and sessions, no rule of the queue."""
