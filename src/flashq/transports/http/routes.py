"""The table of the HTTP door: which method and path is which command, and what of its reply stands under ``data``.

A route has no rules of its own. Its members (those of the path, of the query or of the body) become one request of
`flashq.protocol.requests`, which is carried out as if it had come over lines. To add a route, add a row.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from msgspec import UNSET, Raw, Struct, ValidationError, convert
from msgspec.json import Decoder

from flashq.commands.jobs import get_job, get_result
from flashq.commands.session import Context, Session
from flashq.errors import BadRequest, NotFound, TooLarge
from flashq.model import CronView, Instant, JobView, Metrics, QueueView, WebhookView, WorkerView
from flashq.protocol import replies, requests
from flashq.protocol.codec import decode_with, encode
from flashq.reasons import Explanation
from flashq.transports.http.envelope import NULL, success

MAX_HTTP_BATCH: Final = 1_000
"""Jobs in one batch, ids in one ack-batch and jobs of one pull: a request here has no stream of others behind it that
would gain by a larger one, and proxies bound bodies."""

_WHITE: Final = b" \t\r\n"
_OK: Final = b'{"ok":true,'
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
_decode_any: Final = Decoder(Raw).decode

Shape = Callable[[Context, Session, Any, Any, Instant], bytes]
"""(context, session, request, reply, now) -> the answer's body."""


class Route(NamedTuple):
    """One row.

    Attributes:
        method: of HTTP.
        path: with the request's members in braces.
        request: the command's request type.
        data: the type of what stands under ``data``.
        shape: makes the answer's body.
        body: what the body is: a JSON object with ``members``, or any JSON as the job's ``data``; without one, members
            come from the query.
        defaults: members that HTTP has other defaults for than the command.
        check: raises when HTTP refuses what lines would take.
        beside: types of further members of the envelope; each may be left out.
    """

    method: str
    path: str
    request: type[Any]
    data: Any
    shape: Shape
    body: Literal["", "members", "data"] = ""
    defaults: Mapping[str, int] = {}
    check: Callable[[Any], None] | None = None
    beside: Mapping[str, Any] = {}

    @property
    def changes(self) -> bool:
        """Whether it changes anything; a pull does, also by GET."""
        return self.method != "GET" or self.request is requests.PullBatch


class Reader:
    """Makes one route's requests."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._decode = Decoder(route.request).decode
        self._before = encode(dict(route.defaults))[1:-1]
        self._of_job = route.path.startswith(_JOB)

    def request(self, path: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Any:  # noqa: ANN401
        """The request that these members make; those of the path cannot be overridden.

        Raises:
            BadRequest: they make none.
        """
        route = self._route
        named = {**path, "id": _job_id(path["id"])} if self._of_job else path
        if route.body == "members":
            request = self._of_lines(self._decode, _object(self._before, body, encode(named)[1:-1]))
        elif route.body == "data":
            request = route.request(**named, data=self._of_lines(_decode_any, body))
        else:
            try:
                request = convert({**route.defaults, **query, **named}, route.request, strict=False)
            except ValidationError as error:
                raise BadRequest(f"Invalid: {str(error)[:300]}") from None
        if route.check is not None:
            route.check(request)
        return request

    @staticmethod
    def _of_lines(decode: Callable[[bytes], Any], text: bytes) -> Any:  # noqa: ANN401 - what the decoder makes
        """Decode a text that may have several lines. A payload is kept as it came, but must fit into one line."""
        found = decode_with(decode, text)
        if b"\n" in text or b"\r" in text:  # not in strings, as it could be decoded: white space, like a blank
            found = decode_with(decode, text.translate(_ONE_LINE))
        return found


def _job_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadRequest(f"Invalid: an id is a positive whole number, not {text[:40]!r}")
    return int(text)


def _object(before: bytes, body: bytes, after: bytes) -> bytes:
    """The JSON object of the body with members put in front of its own and behind them; the last of a name counts.

    A body that is no object does not become one by this: its braces are as unbalanced as before, or something
    stands behind the object's end, and the decoder refuses both.
    """
    body = body.strip(_WHITE) or b"{}"
    if body[:1] != b"{" or body[-1:] != b"}":
        raise BadRequest("Invalid: the body must be a JSON object")
    return b"{" + b",".join(part for part in (before, body[1:-1].strip(_WHITE), after) if part) + b"}"


# --- shapes ---


def _null(_: Context, __: Session, ___: Any, ____: Any, _____: Instant) -> bytes:  # noqa: ANN401
    return NULL


def _true(_: Context, __: Session, ___: Any, ____: Any, _____: Instant) -> bytes:  # noqa: ANN401
    return success(b"true")


def _acked(_: Context, __: Session, ___: Any, reply: replies.Acked, ____: Instant) -> bytes:  # noqa: ANN401
    return NULL if getattr(reply, "already", UNSET) is UNSET else success(b"null", b',"already":true')


def _member(name: str) -> Shape:
    def shape(_: Context, __: Session, ___: Any, reply: Any, ____: Instant) -> bytes:  # noqa: ANN401
        return success(encode(getattr(reply, name)))

    return shape


def _whole(_: Context, __: Session, ___: Any, reply: Any, ____: Instant) -> bytes:  # noqa: ANN401
    return success(b"{" + encode(reply).removeprefix(_OK))


def _pushed(context: Context, session: Session, _: Any, reply: replies.Pushed, now: Instant) -> bytes:  # noqa: ANN401
    job = get_job(context, session, requests.GetJob(id=reply.id), now).job
    replayed = b"" if reply.replayed is UNSET else b',"replayed":true'
    return success(encode(job), b',"id":%d%b' % (reply.id, replayed))


def _pushed_batch(_: Context, __: Session, ___: Any, reply: replies.PushedBatch, ____: Instant) -> bytes:  # noqa: ANN401
    data = {"ids": reply.ids, "duplicates": [] if reply.duplicates is UNSET else reply.duplicates}
    return success(encode(data), b"" if reply.replayed is UNSET else b',"replayed":%b' % encode(reply.replayed))


def _pulled(_: Context, __: Session, request: requests.PullBatch, reply: replies.PulledBatch, ___: Instant) -> bytes:
    if request.count != 1:
        return success(encode(reply.jobs))
    job = encode(reply.jobs[0]) if reply.jobs else b"null"
    return success(b"[%b]" % (job if reply.jobs else b""), b',"job":%b' % job)


def _job(
    context: Context, session: Session, request: requests.GetJob, reply: replies.JobAndState, now: Instant
) -> bytes:
    if reply.job is None:
        raise NotFound(f"Job {request.id} not found")
    result = get_result(context, session, requests.GetResult(id=request.id), now).result
    return success(b'%b,"state":"%b","result":%b}' % (encode(reply.job)[:-1], reply.state.encode(), bytes(result)))


def _progress(_: Context, __: Session, ___: Any, reply: replies.ProgressOf, ____: Instant) -> bytes:  # noqa: ANN401
    return success(encode({"progress": reply.progress.progress, "message": reply.progress.message}))


def _count(_: Context, __: Session, ___: Any, reply: replies.Counted, ____: Instant) -> bytes:  # noqa: ANN401
    return success(b"%d" % reply.ids[0], b"" if reply.stale is UNSET else b',"stale":%b' % encode(reply.stale))


# --- what HTTP bounds more tightly ---


def _small_batch(request: requests.PushBatch) -> None:
    if len(request.jobs) > MAX_HTTP_BATCH:
        raise TooLarge(f"Batch too large ({len(request.jobs)} jobs, max {MAX_HTTP_BATCH})")


def _few_ids(request: requests.AckBatch) -> None:
    if len(request.ids) > MAX_HTTP_BATCH:
        raise TooLarge(f"Batch too large ({len(request.ids)} ids, max {MAX_HTTP_BATCH})")


def _few_jobs(request: requests.PullBatch) -> None:
    request.count = min(request.count, MAX_HTTP_BATCH)


class JobWithState(JobView, kw_only=True, gc=False):
    """A job, the state it is in and what it returned."""

    state: str
    result: Raw


class PushedIds(Struct, gc=False):
    """The ids of a batch, aligned with what was sent; at the places in ``duplicates`` they are of older jobs."""

    ids: list[int]
    duplicates: list[int]


class ProgressData(Struct, gc=False):
    """How far a job is, in percent."""

    progress: int
    message: str | None


_QUEUE: Final = "/queues/{queue}"
_JOB: Final = "/jobs/{id}"
_ONE_NOW: Final = {"count": 1, "timeout": 0}

_WITH_ID: Final = {"id": int, "replayed": bool}
_WITH_JOB: Final = {"job": JobView | None}
_WITH_STALE: Final = {"stale": list[int]}

HOT: Final[tuple[Route, ...]] = (
    Route("POST", f"{_QUEUE}/jobs", requests.Push, JobView, _pushed, body="members", beside=_WITH_ID),
    Route(
        "POST", f"{_QUEUE}/jobs/batch", requests.PushBatch, PushedIds, _pushed_batch, body="members",
        check=_small_batch, beside={"replayed": list[int]},
    ),
    Route(
        "GET", f"{_QUEUE}/jobs", requests.PullBatch, list[JobView], _pulled, defaults=_ONE_NOW, check=_few_jobs,
        beside=_WITH_JOB,
    ),
    Route(
        "POST", f"{_QUEUE}/pull", requests.PullBatch, list[JobView], _pulled, body="members", defaults=_ONE_NOW,
        check=_few_jobs, beside=_WITH_JOB,
    ),
    Route("POST", f"{_JOB}/ack", requests.Ack, None, _acked, body="members", beside={"already": bool}),
    Route("POST", f"{_JOB}/fail", requests.Fail, None, _null, body="members"),
    Route(
        "POST", "/jobs/ack-batch", requests.AckBatch, int, _count, body="members", check=_few_ids, beside=_WITH_STALE
    ),
)  # fmt: skip
"""Those that workers and producers use all the time: they do not go through the router."""

COLD: Final[tuple[Route, ...]] = (
    Route("GET", "/queues", requests.ListQueues, list[QueueView], _member("queues")),
    Route("POST", f"{_QUEUE}/pause", requests.Pause, None, _null),
    Route("POST", f"{_QUEUE}/resume", requests.Resume, None, _null),
    Route("GET", f"{_QUEUE}/dlq", requests.DeadLetters, list[JobView], _member("jobs")),
    Route("POST", f"{_QUEUE}/dlq/retry", requests.RetryDeadLetters, int, _count, body="members", beside=_WITH_STALE),
    Route("DELETE", f"{_QUEUE}/dlq", requests.PurgeDeadLetters, int, _member("count")),
    Route("POST", f"{_QUEUE}/rate-limit", requests.RateLimit, None, _null, body="members"),
    Route("DELETE", f"{_QUEUE}/rate-limit", requests.RateLimitClear, None, _null),
    Route("POST", f"{_QUEUE}/concurrency", requests.SetConcurrency, None, _null, body="members"),
    Route("DELETE", f"{_QUEUE}/concurrency", requests.ClearConcurrency, None, _null),
    Route("GET", "/jobs", requests.ListJobs, replies.ListedJobs, _whole),
    Route("GET", _JOB, requests.GetJob, JobWithState, _job),
    Route("GET", f"{_JOB}/explain", requests.Explain, Explanation, _member("explain")),
    Route("GET", f"{_JOB}/state", requests.GetState, str, _member("state")),
    Route("GET", f"{_JOB}/progress", requests.GetProgress, ProgressData, _progress),
    Route("GET", f"{_JOB}/result", requests.GetResult, Any, _member("result")),
    Route("GET", f"{_JOB}/history", requests.History, replies.History, _whole),
    Route("POST", f"{_JOB}/cancel", requests.Cancel, None, _null),
    Route("POST", f"{_JOB}/heartbeat", requests.Heartbeat, None, _null, body="members"),
    Route("POST", f"{_JOB}/progress", requests.Progress, None, _null, body="members"),
    Route("GET", "/crons", requests.CronList, list[CronView], _member("crons")),
    Route("POST", "/crons/{name}", requests.Cron, None, _null, body="members"),
    Route("DELETE", "/crons/{name}", requests.CronDelete, bool, _true),
    Route("GET", "/stats", requests.StatsRequest, replies.StatsReply, _whole),
    Route("GET", "/metrics", requests.MetricsRequest, Metrics, _member("metrics")),
    Route("GET", "/workers", requests.Workers, list[WorkerView], _member("workers")),
    Route("GET", "/webhooks", requests.WebhookList, list[WebhookView], _member("webhooks")),
    Route("POST", "/webhooks", requests.Webhook, str, _member("id"), body="members"),
    Route("DELETE", "/webhooks/{id}", requests.WebhookDelete, bool, _true),
    Route("POST", "/webhooks/incoming/{queue}", requests.Push, JobView, _pushed, body="data", beside=_WITH_ID),
    Route("GET", "/settings", requests.Settings, replies.SettingsView, _member("settings")),
    Route("GET", "/cluster/nodes", requests.Nodes, list[replies.NodeView], _member("nodes")),
    Route("GET", "/audit", requests.AuditLog, replies.AuditLog, _whole),
    Route("POST", "/server/shutdown", requests.Shutdown, None, _null),
    Route("POST", "/server/restart", requests.Restart, None, _null),
    Route("POST", "/server/backup", requests.Backup, replies.BackupView, _member("backup")),
)
"""The others."""

ROUTES: Final = (*HOT, *COLD)
"""All of them, for the description and the tests."""
