"""Unit tests of `flashq.server`, file by file."""
