"""Unit tests of `flashq.transports`, file by file."""
