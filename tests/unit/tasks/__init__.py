"""Tasks, file by file."""
