"""Webhooks: telling receivers of events by HTTP."""
