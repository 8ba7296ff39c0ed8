"""Integrations, file by file."""
