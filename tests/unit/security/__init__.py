"""Unit tests of `flashq.security`, file by file."""
