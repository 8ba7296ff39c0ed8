"""Unit tests of `flashq.storage`, file by file."""
