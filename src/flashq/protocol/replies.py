"""One typed struct per answer. ``ok`` comes first, ``reqId`` only when the request had one.

Members without a value are left out only where the wire contract says "when set"; everywhere else null is
written, so that a reader finds every member it was promised.
"""

from msgspec import UNSET, Raw, Struct, UnsetType, field

from flashq.model import (
    CronView,
    EndedAttempt,
    HistoryEntry,
    JobView,
    Metrics,
    Operation,
    QueueView,
    WebhookView,
    WorkerView,
)
from flashq.reasons import Explanation


class Reply(Struct, kw_only=True, gc=False):
    """Base of all answers; by itself the plain ``{"ok":true}``."""

    ok: bool = True
    req_id: str | UnsetType = field(default=UNSET, name="reqId")


class Failed(Struct, kw_only=True, gc=False):
    """The request was refused. ``id`` is there for a duplicate: the job that holds the key."""

    ok: bool = False
    req_id: str | UnsetType = field(default=UNSET, name="reqId")
    error: str
    code: str
    id: int | UnsetType = UNSET


class Acked(Reply, kw_only=True, gc=False):
    """ACK. ``already``: this very attempt had been acknowledged before."""

    already: bool | UnsetType = UNSET


class Pushed(Reply, kw_only=True, gc=False):
    """PUSH. ``replayed``: the ``job_id`` was known, this is the job it made."""

    id: int
    replayed: bool | UnsetType = UNSET


class PushedBatch(Reply, kw_only=True, gc=False):
    """PUSHB, PUSHFLOW. ``duplicates`` and ``replayed`` list places in ``ids`` that hold jobs which existed before."""

    ids: list[int]
    duplicates: list[int] | UnsetType = UNSET
    replayed: list[int] | UnsetType = UNSET


class Pulled(Reply, kw_only=True, gc=False):
    """PULL."""

    job: JobView | None


class PulledBatch(Reply, kw_only=True, gc=False):
    """PULLB and PULLANY."""

    jobs: list[JobView]


class Counted(Reply, kw_only=True, gc=False):
    """ACKB and RETRYDLQ: ``ids`` holds one number, how many; ``stale`` the ids refused for their token."""

    ids: list[int]
    stale: list[int] | UnsetType = UNSET


class Purged(Reply, kw_only=True, gc=False):
    """PURGEDLQ."""

    count: int


class Result(Reply, kw_only=True, gc=False):
    """GETRESULT."""

    id: int
    result: Raw


class Ended(Reply, kw_only=True, gc=False):
    """WAITJOB: how the job ended, or the state it is in."""

    id: int
    state: str
    result: Raw
    error: str | None


class EndedAttempts(Reply, kw_only=True, gc=False):
    """BEAT with ``wait``: the worker's attempts that the server ended."""

    ended: list[EndedAttempt]


class JobAndState(Reply, kw_only=True, gc=False):
    """GETJOB and GETJOBBYCUSTOMID."""

    job: JobView | None
    state: str


class StateOf(Reply, kw_only=True, gc=False):
    """GETSTATE."""

    id: int
    state: str


class ProgressView(Struct, gc=False):
    """How far a job is, in percent."""

    id: int
    progress: int
    message: str | None


class ProgressOf(Reply, kw_only=True, gc=False):
    """GETPROGRESS."""

    progress: ProgressView


class Jobs(Reply, kw_only=True, gc=False):
    """DLQ."""

    jobs: list[JobView]


class ListedJob(JobView, kw_only=True, gc=False):
    """JOB and the state it is in."""

    state: str


class ListedJobs(Reply, kw_only=True, gc=False):
    """LISTJOBS. ``next``: the cursor of the page behind this one, None when there is none."""

    jobs: list[ListedJob]
    next: str | None


class Explained(Reply, kw_only=True, gc=False):
    """EXPLAIN."""

    explain: Explanation


class StatsReply(Reply, kw_only=True, gc=False):
    """STATS."""

    queued: int
    processing: int
    delayed: int
    dlq: int
    completed: int
    waiting_children: int


class MetricsReply(Reply, kw_only=True, gc=False):
    """METRICS."""

    metrics: Metrics


class Crons(Reply, kw_only=True, gc=False):
    """CRONLIST."""

    crons: list[CronView]


class WebhookAdded(Reply, kw_only=True, gc=False):
    """WEBHOOK."""

    id: str


class Webhooks(Reply, kw_only=True, gc=False):
    """WEBHOOKLIST."""

    webhooks: list[WebhookView]


class Queues(Reply, kw_only=True, gc=False):
    """LISTQUEUES."""

    queues: list[QueueView]


class WorkersReply(Reply, kw_only=True, gc=False):
    """WORKERS."""

    workers: list[WorkerView]


class SettingsView(Struct, gc=False):
    """How a server was set up. Ports are 0 where nobody listens."""

    version: str
    host: str
    port: int
    http_port: int
    unix_socket: str | None
    storage: str
    durability: str
    auth: bool
    tls: bool
    exposed: bool
    uptime_ms: int


class SettingsReply(Reply, kw_only=True, gc=False):
    """SETTINGS."""

    settings: SettingsView


class BackupView(Struct, gc=False):
    """A backup that is on the disk.

    Attributes:
        path: of its file, on the server.
        bytes: how large it is.
        group: number of the newest group of changes in it.
        took_ms: how long it took, in ms.
    """

    path: str
    bytes: int
    group: int
    took_ms: int


class BackupReply(Reply, kw_only=True, gc=False):
    """BACKUP."""

    backup: BackupView


class NodeView(Struct, gc=False):
    """One server of those that work together."""

    node_id: str
    host: str
    port: int
    is_leader: bool
    state: str


class NodesReply(Reply, kw_only=True, gc=False):
    """NODES."""

    nodes: list[NodeView]


class History(Reply, kw_only=True, gc=False):
    """HISTORY, oldest first; ``truncated``: older entries were left out."""

    id: int
    history: list[HistoryEntry]
    truncated: bool


class AuditLog(Reply, kw_only=True, gc=False):
    """AUDITLOG, newest first; ``cursor``: where the next page begins, null after the last."""

    audit: list[Operation]
    cursor: int | None
