"""Unit tests of `flashq.observe`, file by file."""
