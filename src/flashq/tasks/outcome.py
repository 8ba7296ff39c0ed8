"""How an attempt ended, as the worker tells the server; plain data, so that it can cross a pipe from a child."""

from msgspec import Struct


class Done(Struct, tag="done", gc=False):
    """It succeeded. ``result``: what it returned, as JSON; None for nothing."""

    result: bytes | None = None


class Failed(Struct, tag="failed", gc=False):
    """It failed.

    Attributes:
        error: why; kept with the job.
        delay: ms until the next attempt; None: by the job's backoff.
        dead: no further attempt: straight to the dead letters.
    """

    error: str
    delay: int | None = None
    dead: bool = False


class Snoozed(Struct, tag="snoozed", gc=False):
    """It asked to be run again in ``delay`` ms, uncounted."""

    delay: int


class Gone(Struct, tag="gone", gc=False):
    """The server has ended the attempt: there is nothing to tell."""


Outcome = Done | Failed | Snoozed | Gone
