"""Every command: its request type, the function that carries it out, and how much it takes to use it.

The one place that knows them all. Doors, documentation and tests read it; a command that is not here does not exist.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flashq.commands import admin, audit, browse, cron, jobs, queues, webhooks
from flashq.protocol import requests
from flashq.security.identity import ADMIN, ROLES


class Command(NamedTuple):
    """One row of the table.

    Attributes:
        name: the word on the wire.
        run: the function: (context, session, request, now) -> reply.
        role: the weakest role that may use it: viewer, producer, worker, operator, admin; anyone = before AUTH.
    """

    name: str
    run: Callable[[Any, Any, Any, Any], Any]
    role: str


_ROWS: Final[tuple[tuple[type, Callable[..., Any], str], ...]] = (
    (requests.Push, jobs.push, "producer"),
    (requests.PushBatch, jobs.push_batch, "producer"),
    (requests.PushFlow, jobs.push_flow, "producer"),
    (requests.Pull, jobs.pull, "worker"),
    (requests.PullBatch, jobs.pull_batch, "worker"),
    (requests.PullAny, jobs.pull_any, "worker"),
    (requests.Ack, jobs.ack, "worker"),
    (requests.AckBatch, jobs.ack_batch, "worker"),
    (requests.Fail, jobs.fail, "worker"),
    (requests.Release, jobs.release, "worker"),
    (requests.Progress, jobs.progress, "worker"),
    (requests.Heartbeat, jobs.heartbeat, "worker"),
    (requests.WaitJob, jobs.wait_job, "viewer"),
    (requests.GetResult, jobs.get_result, "viewer"),
    (requests.GetJob, jobs.get_job, "viewer"),
    (requests.GetJobByCustomId, jobs.get_job_by_custom_id, "viewer"),
    (requests.GetState, jobs.get_state, "viewer"),
    (requests.GetProgress, jobs.get_progress, "viewer"),
    (requests.ListJobs, browse.list_jobs, "viewer"),
    (requests.Explain, browse.explain, "viewer"),
    (requests.Cancel, jobs.cancel, "producer"),
    (requests.DeadLetters, queues.dead_letters, "viewer"),
    (requests.RetryDeadLetters, queues.retry_dead_letters, "operator"),
    (requests.PurgeDeadLetters, queues.purge_dead_letters, "operator"),
    (requests.RateLimit, queues.rate_limit, "operator"),
    (requests.RateLimitClear, queues.rate_limit_clear, "operator"),
    (requests.SetConcurrency, queues.set_concurrency, "operator"),
    (requests.ClearConcurrency, queues.clear_concurrency, "operator"),
    (requests.Pause, queues.pause, "operator"),
    (requests.Resume, queues.resume, "operator"),
    (requests.ListQueues, queues.list_queues, "viewer"),
    (requests.Cron, cron.cron, "operator"),
    (requests.CronDelete, cron.cron_delete, "operator"),
    (requests.CronList, cron.cron_list, "viewer"),
    (requests.Webhook, webhooks.webhook, "operator"),
    (requests.WebhookDelete, webhooks.webhook_delete, "operator"),
    (requests.WebhookList, webhooks.webhook_list, "operator"),
    (requests.Subscribe, admin.subscribe, "viewer"),
    (requests.Unsubscribe, admin.unsubscribe, "viewer"),
    (requests.StatsRequest, admin.stats, "viewer"),
    (requests.MetricsRequest, admin.metrics, "viewer"),
    (requests.Auth, admin.auth, "anyone"),
    (requests.Ping, admin.ping, "viewer"),
    (requests.Hello, admin.hello, "worker"),
    (requests.Beat, admin.beat, "worker"),
    (requests.Bye, admin.bye, "worker"),
    (requests.Workers, admin.workers, "viewer"),
    (requests.Settings, admin.settings, "viewer"),
    (requests.Nodes, admin.nodes, "viewer"),
    (requests.Shutdown, admin.shutdown, "admin"),
    (requests.Restart, admin.restart, "admin"),
    (requests.Backup, admin.backup, "admin"),
    (requests.History, audit.history, "viewer"),
    (requests.AuditLog, audit.audit_log, "admin"),
)

COMMANDS: Final[dict[type, Command]] = {
    request: Command(str(request.__struct_config__.tag), run, role)  # type: ignore[attr-defined]
    for request, run, role in _ROWS
}

_READING: Final = frozenset({requests.AuditLog, requests.WebhookList})
ACTIONS: Final = (
    frozenset(request for request, command in COMMANDS.items() if command.role in ("operator", "admin")) - _READING
)
"""What the audit log is about: commands of operators and administrators, without those that only read."""

WITHOUT_STORAGE: Final = frozenset(
    {
        requests.Auth,
        requests.Ping,
        requests.StatsRequest,
        requests.MetricsRequest,
        requests.Settings,
        requests.Nodes,
        requests.Workers,
        requests.Subscribe,
        requests.Unsubscribe,
        requests.Shutdown,
        requests.Restart,
    }
)
"""What is answered while the storage does not answer: nothing that changes a job, and of what only reads, what promises
nothing. The server can be asked how it is, and told to leave."""

BEFORE_AUTH: Final = frozenset(request for request, command in COMMANDS.items() if command.role == "anyone")
"""What a client may send before it has shown a token, where tokens are asked for."""

ALLOWED: Final[dict[str, frozenset[type] | None]] = {
    role: frozenset(request for request, command in COMMANDS.items() if command.role in ("anyone", *ROLES[: rank + 1]))
    for rank, role in enumerate(ROLES)
} | {ADMIN: None}
"""What each role may send: all that takes it or a weaker one; None = everything."""
