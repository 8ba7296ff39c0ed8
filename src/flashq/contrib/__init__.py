"""Integrations with what programs already use. Each module needs the extra of its name; importing one asks for it."""
