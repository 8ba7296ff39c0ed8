"""Remembering: four methods, batches only."""
