"""The Python client: `FlashQ` for plain programs, `AsyncFlashQ` for asyncio.

Speaks JSON lines over TCP or a Unix socket and needs nothing but msgspec. It shares the protocol's structs, the
errors and the words of `flashq.model` with the server and knows nothing else of it.
"""

from flashq.client.async_client import AsyncBatch, AsyncFlashQ, AsyncSubscription
from flashq.client.encoding import FlowJob, JobSpec
from flashq.client.pipeline import Unreachable
from flashq.client.results import (
    AckedBatch,
    AuditPage,
    Cron,
    Ending,
    Event,
    JobPage,
    JobProgress,
    JobRecord,
    Pending,
    PushedIds,
)
from flashq.client.sync_client import Batch, FlashQ, Subscription

__all__ = [
    "AckedBatch",
    "AsyncBatch",
    "AsyncFlashQ",
    "AsyncSubscription",
    "AuditPage",
    "Batch",
    "Cron",
    "Ending",
    "Event",
    "FlashQ",
    "FlowJob",
    "JobPage",
    "JobProgress",
    "JobRecord",
    "JobSpec",
    "Pending",
    "PushedIds",
    "Subscription",
    "Unreachable",
]
