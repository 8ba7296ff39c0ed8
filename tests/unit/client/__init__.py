"""The client, file by file."""
