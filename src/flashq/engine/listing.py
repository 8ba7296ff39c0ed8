"""Listing jobs by queue and state, newest first, page by page, in bounded work however many jobs there are.

There is no index by queue and state: it would cost every push, pull and ack something, for the sake of people who look
now and then. Instead the columns are searched from the newest id down, chunk by chunk: the states of 4,096 jobs are
compared at once in C, so a million waiting jobs hide ten dead ones for less than a millisecond. Where a queue keeps a
list of its own (its dead letters, its line) and the list is short, that is taken instead.

What is left is the search for the few jobs of one queue among very many of others in the same state. It is bounded by
`EFFORT`: a page then ends early and says where the next one goes on. A page is a range of ids, and ids never move, so
pages neither repeat nor skip a job, whatever comes and goes between them.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence, Set
from itertools import compress
from typing import Final, NamedTuple

from flashq.engine.jobs import CHUNK, CHUNK_BITS, JOB_BYTES, MASK, Chunk, Jobs
from flashq.engine.queue import Queue
from flashq.engine.views import view
from flashq.model import COMPLETED, FAILED, UNKNOWN, WAITING, JobView
from flashq.protocol.limits import MAX_ANSWER_BYTES

EFFORT: Final = 20_000
"""Slots that one search may look at one by one, about 3 ms of the event loop; what is cheaper is counted as below."""

PROBE: Final = 2
"""What it costs to count a state in the column of a whole chunk, in slots."""

READ: Final = 400
"""What it costs to go through a column of objects of a whole chunk in C, in slots."""

FEW: Final = 4_096
"""The longest list of a queue that is sorted instead of searching the columns: no longer than one chunk."""

_ID_BYTES: Final = 17
"""An id in an answer: sixteen digits and a comma."""

_SLOTS: Final = range(CHUNK)


class Page(NamedTuple):
    """Some jobs, newest first."""

    jobs: list[JobView]
    below: int
    """The next page holds ids below this; 0 = there is none."""


class Found(NamedTuple):
    """Ids, highest first."""

    ids: list[int]
    below: int
    """Everything from here up has been looked at; 0 = everything has."""


class Listing:
    """Searches all jobs. Changes nothing."""

    __slots__ = ("_jobs",)

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def page(self, queues: Set[Queue] | None, state: int, below: int, most: int) -> Page:
        """Up to ``most`` jobs; fewer when the effort is used up or more would not fit into one answer.

        Args:
            queues: of these queues only; None: of all.
            state: in this state only; UNKNOWN: in any.
            below: with ids below this only; at least 1.
            most: at most so many, at least 1.
        """
        ids, rest = self.find(queues, state, below, most + 1)
        if len(ids) > most:
            ids.pop()
            rest = ids[-1]
        jobs: list[JobView] = []
        room = MAX_ANSWER_BYTES
        for id in ids:
            job = view(self._jobs, id)
            assert job is not None
            room -= _size(job)
            if room < 0 and jobs:
                return Page(jobs, jobs[-1].id)
            jobs.append(job)
        return Page(jobs, rest)

    def find(self, queues: Set[Queue] | None, state: int, below: int, most: int) -> Found:
        """Up to ``most`` ids of jobs; the arguments are those of `page`."""
        if queues is not None:
            if state not in (UNKNOWN, COMPLETED) and not any(queue.counts[state] for queue in queues):
                return Found([], 0)
            few = _few(next(iter(queues)), state) if len(queues) == 1 else None
            if few is not None:
                here = self._jobs.state
                ids = sorted((id for id in set(few) if id < below and here(id) == state), reverse=True)
                return Found(ids[:most], 0)
        return self._search(queues, state, below, most)

    def _search(self, queues: Set[Queue] | None, state: int, below: int, most: int) -> Found:
        chunks = self._jobs.chunks
        last = below - 1
        top, end = last >> CHUNK_BITS, (last & MASK) + 1
        numbers = sorted(chunks)
        ids: list[int] = []
        effort = EFFORT
        for number in reversed(numbers[: bisect_right(numbers, top)]):
            chunk, base = chunks[number], number << CHUNK_BITS
            stop = end if number == top else CHUNK
            slots, cost = _candidates(chunk, queues, state, stop)
            effort -= cost
            options = chunk.options
            for slot in slots:
                effort -= 1
                if queues is None or options[slot].queue in queues:
                    ids.append(base + slot)
                    if len(ids) == most:
                        return Found(ids, base + slot)
                if effort <= 0:
                    return Found(ids, base + slot)
            if effort <= 0:
                return Found(ids, base)
        return Found(ids, 0)


def _candidates(
    chunk: Chunk, queues: Set[Queue] | None, state: int, stop: int
) -> tuple[Iterator[int] | Sequence[int], int]:
    """The slots below ``stop`` that are worth a look, highest first, and what it cost to know."""
    cost = PROBE
    count = chunk.state.count(state, 0, stop) if state != UNKNOWN else chunk.live
    if not count:
        return (), cost
    if queues is not None and count > READ:
        cost += READ
        if not any(options is not None and options.queue in queues for options in set(chunk.options[0:CHUNK])):
            return (), cost
    if state != UNKNOWN:
        return _backwards(chunk.state, state, stop), cost
    return list(compress(_SLOTS[:stop], chunk.state))[::-1], cost + READ


def _backwards(states: bytearray, state: int, stop: int) -> Iterator[int]:
    while (stop := states.rfind(state, 0, stop)) >= 0:
        yield stop


def _few(queue: Queue, state: int) -> Collection[int] | None:
    """All ids of a queue that may be in a state, when the queue itself knows and they are few."""
    if state == FAILED and len(queue.dead) <= FEW:
        return queue.dead
    if state == WAITING and queue.ready.length <= FEW:
        return queue.ready.ids()
    return None


def _size(job: JobView) -> int:
    """What a job adds to an answer, in bytes, about; no less than what a client may have put into it."""
    size = JOB_BYTES + len(job.data) + _ID_BYTES * len(job.depends_on)
    texts = (job.progress_msg, job.unique_key, job.custom_id, *job.tags)
    size += sum(len(text) for text in texts if isinstance(text, str))
    return size + (sum(map(len, job.inputs)) if isinstance(job.inputs, list) else 0)
