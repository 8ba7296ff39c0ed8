"""Unit tests of `flashq.commands`, file by file."""
