"""Tasks: typed functions that run as jobs.

The layer that most programs use. It sits on the client and needs nothing but msgspec; `flashq.worker` runs what is
enqueued here.
"""

from flashq.tasks.app import App
from flashq.tasks.compose import Flow, Signature, chain, chord, group
from flashq.tasks.context import Context, current_job
from flashq.tasks.control import Cancelled, Reject, Retry, Snooze
from flashq.tasks.job import Job
from flashq.tasks.middleware import Middleware
from flashq.tasks.outgoing import Outgoing
from flashq.tasks.task import CoroutineTask, PlainTask, Task

__all__ = [
    "App",
    "Cancelled",
    "Context",
    "CoroutineTask",
    "Flow",
    "Job",
    "Middleware",
    "Outgoing",
    "PlainTask",
    "Reject",
    "Retry",
    "Signature",
    "Snooze",
    "Task",
    "chain",
    "chord",
    "current_job",
    "group",
]
