"""Unit tests of `flashq.webhooks`, file by file."""
