"""The numbers that an operator may set for the engine, with their defaults and reasons."""

from msgspec import Struct


class Settings(Struct, frozen=True, kw_only=True):
    """How the engine behaves where a job does not say. Durations are ms.

    Attributes:
        default_max_attempts: failed attempts until the dead letters.
        default_backoff: wait before the first retry.
        lease: how long an attempt may be silent when neither its job nor its worker bounds it.
        worker_silence: a worker that says nothing for so long is gone; six of its heartbeats.
        keep_completed: completed jobs that are remembered.
        keep_results: results that are remembered.
        keep_bytes: bound on the payloads and results of completed jobs.
        max_bytes: memory for jobs; beyond it pushes are refused and everything else goes on.
        max_returns: how often a job may be handed back uncounted before that counts as a failure.
        slice: things that fall due which are handled in one turn, so that a million at once freeze nothing.
        cron_slice: the same for schedules, of which each takes the time of fifty others to move on.
    """

    default_max_attempts: int = 3
    default_backoff: int = 1_000
    lease: int = 30 * 60 * 1_000
    worker_silence: int = 30_000
    keep_completed: int = 50_000
    keep_results: int = 5_000
    keep_bytes: int = 64 * 1024 * 1024
    max_bytes: int = 1024 * 1024 * 1024
    max_returns: int = 100
    slice: int = 1_000
    cron_slice: int = 50
