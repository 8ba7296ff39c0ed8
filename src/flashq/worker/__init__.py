"""The worker: pulls jobs of an app's queues, runs many at once, and tells the server what became of each.

Needs msgspec only, as the client does; uvloop is used where it is installed.
"""

from flashq.worker.worker import Worker

__all__ = ["Worker"]
