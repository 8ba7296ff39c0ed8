"""The numbers of a server as Prometheus reads them: text format 0.0.4.

The library's own counters would be told of every job; here it is told nothing, and asks one collector that holds
`Figures`. So a job costs nothing here, and what costs is the text. It belongs into a thread: a thousand queues are
several thousand lines.

A queue is a label, and a label value that everybody who may push can make up is how monitoring systems are brought
down. So only the `MAX_QUEUES_SHOWN` queues that hold the most jobs have series of their own; the others are one more,
under a name that no queue can have.
"""

from collections.abc import Iterable, Iterator
from heapq import nlargest
from itertools import accumulate
from platform import python_version
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from flashq.model import Distribution
from flashq.observe.figures import Figures, QueueFigures

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

MAX_QUEUES_SHOWN: Final = 1_000
"""Each is six series, and Prometheus keeps every series that it ever saw for hours."""

OTHER: Final = "(other)"
"""Stands for all further queues. No queue can have parentheses in its name."""

_process: Final = ProcessCollector(registry=None)


def exposition(figures: Figures) -> bytes:
    """The whole page. Takes milliseconds, and with many queues tens of them: not for the event loop."""
    return generate_latest(Exposition(figures))


class Exposition(Collector):
    """What the library asks: a collector of one moment."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Every metric; docs/metrics.md tells what they mean."""
        yield from _jobs(self._figures)
        yield from _queues(self._figures)
        yield from _times(self._figures)
        yield from _server(self._figures)
        yield from _process.collect()


def _jobs(f: Figures) -> Iterator[Metric]:
    totals = f.totals
    yield _counter("flashq_jobs_pushed", "Jobs that were pushed", totals.pushed)
    yield _counter("flashq_jobs_completed", "Jobs that completed", totals.completed)
    yield _counter("flashq_jobs_failed", "Jobs that entered the dead letters", totals.failed)
    yield _counter("flashq_jobs_cancelled", "Jobs that were cancelled", totals.cancelled)
    yield _counter("flashq_jobs_expired", "Jobs whose time to live ended", totals.expired)
    yield _counter("flashq_jobs_purged", "Dead letters that were removed", totals.purged)
    yield _counter("flashq_jobs_retried", "Attempts that failed and were followed by another", f.retried)
    yield _counter("flashq_jobs_timed_out", "Attempts that ended for want of a sign of life", f.timed_out)
    current = GaugeMetricFamily("flashq_jobs_current", "Jobs by state", labels=["state"])
    stats = f.stats
    for state, count in (
        ("waiting", stats.queued),
        ("delayed", stats.delayed),
        ("active", stats.processing),
        ("failed", stats.dlq),
        ("waiting-children", stats.waiting_children),
    ):
        current.add_metric([state], count)
    yield current
    yield _gauge("flashq_throughput_per_second", "Completions a second over the last minute", f.per_second)
    yield _gauge("flashq_latency_ms", "Mean ms from push to completion over the last minute", f.latency_ms)


def _queues(f: Figures) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("flashq_queue_jobs", "Jobs of a queue by state", labels=["queue", "state"])
    oldest = GaugeMetricFamily(
        "flashq_queue_oldest_waiting_seconds",
        "For how long the job that has waited longest has been ready; 0 when none waits",
        labels=["queue"],
    )
    for queue in shown(f.queues):
        name = queue.name
        jobs.add_metric([name, "waiting"], queue.waiting)
        jobs.add_metric([name, "delayed"], queue.delayed)
        jobs.add_metric([name, "active"], queue.active)
        jobs.add_metric([name, "failed"], queue.failed)
        jobs.add_metric([name, "waiting-children"], queue.waiting_children)
        since = queue.waiting_since
        oldest.add_metric([name], max(0, f.wall - since) / 1_000 if since else 0)
    yield jobs
    yield oldest
    yield _gauge("flashq_queues", "Queues that hold a job or a setting, or did", len(f.queues))


def _times(f: Figures) -> Iterator[Metric]:
    yield _histogram("flashq_wait_seconds", "From when a job may run until it is delivered", f.waits)
    yield _histogram("flashq_run_seconds", "From delivery until the attempt completes or fails", f.runs)
    yield _histogram("flashq_commit_seconds", "How long it took to make a group of changes durable", f.commits)
    yield _histogram("flashq_loop_lag_seconds", "By how much the event loop was late", f.lags)


def _server(f: Figures) -> Iterator[Metric]:
    yield _gauge("flashq_workers_active", "Workers that are alive", f.workers)
    yield _gauge("flashq_crons", "Schedules", f.crons)
    yield _gauge("flashq_connections", "Connections of clients", f.connections)
    yield _gauge("flashq_calls_waiting", "Calls that wait for a job or for the end of one", f.calls_waiting)
    yield _gauge("flashq_memory_bytes", "Bytes that jobs take", f.memory)
    yield _gauge("flashq_memory_limit_bytes", "Bytes that jobs may take", f.memory_bound)
    yield _gauge("flashq_unsynced_bytes", "Bytes of changes that are not durable yet", f.unsynced_bytes)
    yield _gauge("flashq_storage_away", "Whether the storage does not answer, 0 or 1", int(f.storage_away))
    yield _counter("flashq_clock_jumps", "How often the wall clock was set", f.clock_jumps)
    about = GaugeMetricFamily("flashq_build_info", "Always 1", labels=["version", "python", "storage", "durability"])
    about.add_metric([f.version, python_version(), f.storage, f.durability], 1)
    yield about


def shown(queues: list[QueueFigures]) -> list[QueueFigures]:
    """The queues that have series of their own, by name, and behind them what the others are together, if there are."""
    if len(queues) <= MAX_QUEUES_SHOWN:
        return sorted(queues)
    most = nlargest(MAX_QUEUES_SHOWN, queues, key=lambda queue: (queue.jobs, queue.name))
    names = {queue.name for queue in most}
    return [*sorted(most), _together(queue for queue in queues if queue.name not in names)]


def _together(queues: Iterable[QueueFigures]) -> QueueFigures:
    columns = list(zip(*queues, strict=True))
    waiting, delayed, active, failed, children = map(sum, columns[1:6])
    since = min((since for since in columns[6] if since), default=0)
    return QueueFigures(OTHER, waiting, delayed, active, failed, children, since)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _histogram(name: str, text: str, observed: Distribution) -> Metric:
    bounds = [str(bound / observed.unit) for bound in observed.bounds]
    buckets = list(zip([*bounds, "+Inf"], accumulate(observed.counts), strict=True))
    return HistogramMetricFamily(name, text, buckets, observed.total / observed.unit)
