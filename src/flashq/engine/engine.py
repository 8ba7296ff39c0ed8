"""The whole: the parts and the stages wired together, and the tick that does what is due.

The engine has no verbs of its own. Commands call the stages: ``engine.intake.push``, ``engine.dispatch.pull``,
``engine.settle.ack``, ``engine.control.pause``, ``engine.lookup.job``. It reads no clock and does no I/O: every call
brings its `Instant`, and what must happen outside is taken with `take_effects`.
"""

from collections.abc import Callable

from flashq.engine.beats import Beats
from flashq.engine.clocks import make_clocks
from flashq.engine.control import Control
from flashq.engine.cron import Crons
from flashq.engine.dependencies import Graph
from flashq.engine.dispatch import Dispatch
from flashq.engine.effects import Effects, Outbox
from flashq.engine.explain import Explain
from flashq.engine.finished import Finished
from flashq.engine.histogram import JOB_TIMES_MS, Histogram
from flashq.engine.intake import Intake
from flashq.engine.jobs import Jobs
from flashq.engine.leases import Worker
from flashq.engine.listing import Listing
from flashq.engine.lookup import Lookup
from flashq.engine.parking import Parking
from flashq.engine.queue import Queues
from flashq.engine.rates import Rates
from flashq.engine.settings import Settings
from flashq.engine.settle import Settle
from flashq.engine.watchers import Watchers
from flashq.engine.webhooks import Webhooks
from flashq.model import Instant


class Engine:
    """One queue server's worth of state, deterministic: the same calls give the same effects."""

    def __init__(
        self,
        settings: Settings,
        *,
        nonce: Callable[[], str],
        now: Instant,
        epoch: int = 1,
        next_id: int = 1,
        recording: bool = False,
    ) -> None:
        """Build an empty engine.

        Args:
            settings: the operator's numbers.
            nonce: a fresh unguessable word (no dots) for each delivery's token.
            now: the moment of the start.
            epoch: number of this boot; never used before on the same data.
            next_id: the first id to give out.
            recording: whether changes are noted as records.
        """
        self.settings = settings
        self.epoch = epoch
        self.jobs = Jobs(next_id)
        self.queues = Queues()
        self.clocks = make_clocks(self.jobs)
        self.graph = Graph()
        self.finished = Finished(settings.keep_completed, settings.keep_results, settings.keep_bytes)
        self.rates = Rates(now.wall)
        self.wait_times = Histogram(JOB_TIMES_MS, 1_000)
        """From when a job may run until it is delivered; also of a delivery that is handed back."""
        self.run_times = Histogram(JOB_TIMES_MS, 1_000)
        """From delivery until the attempt completes or fails; not of those that are handed back or cancelled."""
        self.crons = Crons()
        self.workers: dict[str, Worker] = {}
        self.outbox = Outbox(recording=recording)
        self.parking = Parking(self.clocks.waits, self.outbox)
        self.watchers = Watchers(self.parking, self.outbox)
        self.beats = Beats(self.parking, self.outbox, settings.worker_silence)
        self.webhooks = Webhooks(self.outbox, epoch, nonce)
        jobs, queues, clocks, outbox = self.jobs, self.queues, self.clocks, self.outbox
        self.dispatch = Dispatch(jobs, queues, clocks, outbox, self.parking, self.wait_times, settings, epoch, nonce)
        self.intake = Intake(jobs, queues, clocks, self.graph, self.finished, outbox, settings, self.dispatch)
        self.settle = Settle(
            jobs, queues, clocks, self.graph, self.finished, self.rates, self.run_times, outbox, self.watchers,
            self.beats, settings, epoch, self.dispatch, self.intake,
        )  # fmt: skip
        self.control = Control(
            jobs,
            queues,
            clocks,
            self.crons,
            self.workers,
            outbox,
            self.beats,
            settings,
            self.dispatch,
            self.intake,
            self.settle,
        )
        self.listing = Listing(jobs)
        self.explain = Explain(jobs, self.graph, self.finished, self.workers, self.listing)
        self.lookup = Lookup(jobs, queues, self.finished, self.rates, self.crons, self.workers)

    def tick(self, now: Instant) -> int | None:
        """Do what is due, at most a slice of each kind.

        Returns:
            Ms until the next thing falls due: 0 when the slice was full, None when nothing is waiting for a time.
        """
        clocks, most = self.clocks, self.settings.slice
        silent = [worker for _, worker in clocks.workers.due(now.steady, most)]
        if silent:  # first, so that nothing is handed to a worker that is lost
            self.control.workers_silent(silent, now)
        for _, lease in clocks.leases.due(now.steady, most):
            self.settle.lease_over(lease, now)
        for _, id in clocks.expiries.due(now.wall, most):
            self.settle.expire(id, now)
        for due, id in sorted(clocks.delays.due(now.wall, most)):  # of what falls due together, lower ids first
            self.intake.delay_over(id, due, now)
        self.control.fire_crons(now, self.settings.cron_slice)
        for due, queue in clocks.refills.due(now.steady, most):
            self.dispatch.refilled(queue, due, now)
        self.parking.end_overdue(now, most)
        return self.wait(now)

    def stood_still(self, ms: int, now: Instant) -> None:
        """Nobody could be heard for so long: every lease and every worker's silence lasts that much longer.

        No longer than it would if it were renewed now: who was heard since then has lost nothing. Their timers fire as
        they would have, look at the deadline, and wait for the rest.
        """
        renewed = now.steady + self.settings.lease
        for lease in {lease for _, _, lease in self.clocks.leases.entries()}:
            later = lease.deadline + ms
            lease.deadline = min(later, renewed) if lease.renewable else later
        heard = now.steady + self.settings.worker_silence
        for worker in self.workers.values():
            worker.deadline = min(worker.deadline + ms, heard)

    def take_effects(self) -> Effects:
        """What the calls since the last time ask of the outside."""
        return self.outbox.take()

    def wait(self, now: Instant) -> int | None:
        """Ms until the next thing falls due, 0 when something is due already, None when nothing waits for a time."""
        clocks = self.clocks
        waits = [
            due - now.steady
            for timers in (clocks.leases, clocks.workers, clocks.refills, clocks.waits)
            if (due := timers.next_due()) is not None
        ]
        waits += [
            due - now.wall
            for due in (clocks.delays.next_due(), clocks.expiries.next_due(), self.crons.next_due())
            if due is not None
        ]
        return max(0, min(waits)) if waits else None
