"""Requests as this client writes them: the structs of the protocol, without the members that say nothing.

The protocol's own structs write every member (``"delay":null,"ttl":null,...``); here the ones at their default are
left out, which the wire contract treats alike and which makes an ordinary push a third as long for both sides.
Payload members are typed `Any` here: the encoder turns whatever Python value stands there into JSON in the same
pass as the rest of the line, and copies a `msgspec.Raw` as it is.
"""

from typing import Any, Final

from msgspec import Raw, Struct, json

from flashq import model
from flashq.errors import BadRequest, TooLarge
from flashq.protocol import requests
from flashq.protocol.limits import MAX_LINE_BYTES

__all__ = [
    "Ack",
    "AckBatch",
    "Beat",
    "Bye",
    "Cron",
    "Fail",
    "FlowJob",
    "Hello",
    "JobSpec",
    "Progress",
    "Pull",
    "PullAny",
    "PullBatch",
    "Push",
    "PushBatch",
    "PushFlow",
    "Release",
    "WaitJob",
    "Webhook",
    "encode",
]


class JobSpec(model.JobSpec, omit_defaults=True, kw_only=True, gc=False):
    """One job of a batch: its payload and what differs from the defaults.

    Durations are milliseconds.

    Attributes:
        data: any value that can be written as JSON, or `msgspec.Raw` with JSON already written.
        priority: higher runs first.
        delay: ms until the job may run.
        ttl: ms after which a job that waits disappears; one that runs may finish.
        timeout: ms that one attempt may run.
        max_attempts: failed attempts until the dead letters; 0 = no bound, None = the server's default.
        backoff: ms before the first retry, doubled each time; 0 = at once, None = the server's default.
        unique_key: at most one live job of the queue may hold it.
        depends_on: ids of jobs that must complete first.
        tags: words for people.
        job_id: your own id; makes the push safe to repeat.
        collect: deliver the job with the results of its parents, as its `JobRecord.inputs`.
    """

    data: Any


class FlowJob(model.FlowJob, omit_defaults=True, kw_only=True, gc=False):
    """One job of a flow: its queue, its payload, what it waits for, and what differs from the defaults.

    ::

        q.push_flow([
            FlowJob(queue="fetch", data="a"),
            FlowJob(queue="fetch", data="b"),
            FlowJob(queue="merge", data=None, after=[0, 1], collect=True),
        ])

    Attributes:
        queue: where it goes.
        data: any value that can be written as JSON, or `msgspec.Raw` with JSON already written.
        after: places of earlier jobs in the flow that must complete first; behind those of ``depends_on`` they are
            the job's parents.
        depends_on: ids of jobs, pushed before, that must complete first.
        priority, delay, ttl, timeout, max_attempts, backoff, unique_key, tags, job_id, collect: as in `JobSpec`.
    """

    data: Any


class Push(requests.Push, omit_defaults=True, kw_only=True, gc=False):
    """PUSH with a Python value for payload."""

    data: Any


class PushBatch(requests.PushBatch, omit_defaults=True, kw_only=True, gc=False):
    """PUSHB."""

    jobs: Any


class PushFlow(requests.PushFlow, omit_defaults=True, kw_only=True, gc=False):
    """PUSHFLOW."""

    jobs: Any


class Pull(requests.Pull, omit_defaults=True, kw_only=True, gc=False):
    """PULL."""


class PullBatch(requests.PullBatch, omit_defaults=True, kw_only=True, gc=False):
    """PULLB."""


class PullAny(requests.PullAny, omit_defaults=True, kw_only=True, gc=False):
    """PULLANY."""


class Ack(requests.Ack, omit_defaults=True, kw_only=True, gc=False):
    """ACK with a Python value for result."""

    result: Any = None


class AckBatch(requests.AckBatch, omit_defaults=True, kw_only=True, gc=False):
    """ACKB with Python values for results."""

    results: Any = None


class Fail(requests.Fail, omit_defaults=True, kw_only=True, gc=False):
    """FAIL."""


class Release(requests.Release, omit_defaults=True, kw_only=True, gc=False):
    """RELEASE."""


class Bye(requests.Bye, omit_defaults=True, kw_only=True, gc=False):
    """BYE."""


class ListJobs(requests.ListJobs, omit_defaults=True, kw_only=True, gc=False):
    """LISTJOBS."""


class Progress(requests.Progress, omit_defaults=True, kw_only=True, gc=False):
    """PROGRESS."""


class Hello(requests.Hello, omit_defaults=True, kw_only=True, gc=False):
    """HELLO."""


class Webhook(requests.Webhook, omit_defaults=True, kw_only=True, gc=False):
    """WEBHOOK."""


class Cron(requests.Cron, omit_defaults=True, kw_only=True, gc=False):
    """CRON with a Python value for payload."""

    data: Any = Raw(b"null")


class Beat(requests.Beat, omit_defaults=True, kw_only=True, gc=False):
    """BEAT."""


class WaitJob(requests.WaitJob, omit_defaults=True, kw_only=True, gc=False):
    """WAITJOB."""


_TOO_LONG: Final = f"Request too large (%d bytes, max {MAX_LINE_BYTES} bytes)"

_write = json.Encoder().encode


def encode(request: Struct) -> bytes:
    """One request as the line to send.

    Raises:
        BadRequest: a `msgspec.Raw` holds a line break outside a string: it would end the line in the middle. Or a text
            holds half a character (a lone surrogate), which UTF-8 cannot write.
        TooLarge: the line is longer than the server reads; it would close the connection under all other calls.
        TypeError: a payload holds something that JSON has no word for.
    """
    try:
        line = _write(request)
    except UnicodeEncodeError as error:
        raise BadRequest(f"Invalid: text that cannot be written as UTF-8: {error}") from None
    if len(line) > MAX_LINE_BYTES:
        raise TooLarge(_TOO_LONG % len(line))
    if b"\n" in line:
        raise BadRequest("Invalid: Raw data must not contain line breaks; use msgspec.json.format(raw, indent=0)")
    return line + b"\n"
