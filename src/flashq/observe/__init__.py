"""Seeing what happens: events to whoever listens."""
