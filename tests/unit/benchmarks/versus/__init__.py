"""The comparison with other queues: its arithmetic, and that it cannot be fooled by what did not work."""
