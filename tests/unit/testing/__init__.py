"""Unit tests of flashq.testing."""
