"""FlashQ: a job queue server that needs nothing else.

What a program that uses FlashQ imports from here is the client; the server is started with the ``flashq`` command.
"""

from flashq.client import (
    AckedBatch,
    AsyncFlashQ,
    Cron,
    Event,
    FlashQ,
    JobProgress,
    JobRecord,
    JobSpec,
    Pending,
    PushedIds,
    Unreachable,
)
from flashq.errors import (
    BadRequest,
    CallTimeout,
    ConnectionLost,
    Duplicate,
    FlashQError,
    Forbidden,
    LimitReached,
    NotActive,
    NotFound,
    Overloaded,
    ShuttingDown,
    StaleAttempt,
    StorageError,
    StorageFull,
    TooLarge,
    Unauthorized,
)

__version__ = "0.1.0"

__all__ = [
    "AckedBatch",
    "AsyncFlashQ",
    "BadRequest",
    "CallTimeout",
    "ConnectionLost",
    "Cron",
    "Duplicate",
    "Event",
    "FlashQ",
    "FlashQError",
    "Forbidden",
    "JobProgress",
    "JobRecord",
    "JobSpec",
    "LimitReached",
    "NotActive",
    "NotFound",
    "Overloaded",
    "Pending",
    "PushedIds",
    "ShuttingDown",
    "StaleAttempt",
    "StorageError",
    "StorageFull",
    "TooLarge",
    "Unauthorized",
    "Unreachable",
    "__version__",
]
