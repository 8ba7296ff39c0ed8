"""Unit tests of `flashq.transports.http`, file by file."""
