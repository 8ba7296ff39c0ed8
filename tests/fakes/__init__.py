"""Stand-ins for what a test must be able to make fail on command."""
