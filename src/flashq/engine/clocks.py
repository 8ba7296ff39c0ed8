"""The engine's timers, one for each kind of thing that falls due, by the clock that governs it."""

from msgspec import Struct

from flashq.engine.jobs import CHUNK_BITS, MASK, Jobs
from flashq.engine.leases import Lease, Worker
from flashq.engine.queue import Queue
from flashq.engine.timers import Alarm, Timers
from flashq.engine.waiters import Call
from flashq.model import ACTIVE, COMPLETED, DELAYED, FAILED, UNKNOWN


class Clocks(Struct, frozen=True):
    """What falls due.

    Attributes:
        delays: wall ms, the job may run.
        expiries: wall ms, the job's ttl is over.
        leases: steady ms, the attempt's time is over.
        workers: steady ms, the worker has been silent for too long.
        waits: steady ms, the parked client wants its answer.
        refills: steady ms, the queue's bucket holds a token.
        alarm: rung when anything of this falls due earlier than what did before.
    """

    delays: Timers[int]
    expiries: Timers[int]
    leases: Timers[Lease]
    workers: Timers[Worker]
    waits: Timers[Call]
    refills: Timers[Queue]
    alarm: Alarm


def make_clocks(jobs: Jobs) -> Clocks:
    """Timers that know when an entry of theirs has lost its meaning."""
    alarm = Alarm()
    return Clocks(
        delays=Timers(lambda due, id: jobs.state(id) == DELAYED and jobs.extras[id].run_at == due, alarm),
        # Kept while the job runs: it may come back, and is looked at again when its attempt ends.
        expiries=Timers(lambda _, id: jobs.state(id) not in (UNKNOWN, COMPLETED, FAILED), alarm),
        leases=Timers(lambda _, lease: lease.open > 0, alarm),
        workers=Timers(lambda _, worker: not worker.gone, alarm),
        waits=Timers(lambda _, call: call.parked, alarm),
        refills=Timers(lambda due, queue: queue.refill_at == due, alarm),
        alarm=alarm,
    )


def expires_at(jobs: Jobs, id: int) -> int:
    """Wall ms at which the job's ttl is over; 0 = never."""
    chunk = jobs.chunks[id >> CHUNK_BITS]
    ttl = chunk.options[id & MASK].ttl
    return chunk.created[id & MASK] + ttl if ttl else 0


def may_expire(jobs: Jobs, id: int) -> bool:
    """Whether the end of its ttl would still end this job: it lives, and is neither running nor a dead letter."""
    return jobs.state(id) not in (UNKNOWN, ACTIVE, COMPLETED, FAILED)
