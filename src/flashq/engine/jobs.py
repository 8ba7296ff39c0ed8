"""Every job by its id.

A job is not an object. Ids are handed out without gaps, so a job is a *slot* in five columns, cut into chunks of
4,096: payload, shared options, time of creation, lease, and one byte of state. A waiting job costs its payload,
four pointers and a byte; a pushed batch is written by slice assignments, whatever its size. What only few jobs have
(a key, parents, a failed attempt, progress) stands in an `Extra` by id.

A chunk is freed when its last job is forgotten, and made small when few are left.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from flashq.engine.columns import Column, Sparse
from flashq.engine.leases import Lease
from flashq.engine.queue import Options
from flashq.model import UNKNOWN
from flashq.protocol.limits import MAX_INPUT_BYTES

CHUNK_BITS: Final = 12
CHUNK: Final = 1 << CHUNK_BITS
MASK: Final = CHUNK - 1

FEW: Final = 64
"""Jobs in a chunk up to which its columns are made sparse: at so many a job costs about twice `JOB_BYTES`."""

LOOKED_AFTER: Final = 2
"""Old chunks that are looked at when a new one is made: all of them in the time in which half as many come."""

JOB_BYTES: Final = 160
"""What a waiting job costs in memory beside its payload: object header, four pointers, its share of the chunk."""

_EMPTY: Final[list[Any]] = [None] * CHUNK
"""Slots without a job hold None; nobody reads a slot whose state is UNKNOWN, hence the plain types of the columns."""

EDGE_BYTES: Final = 400
"""What a parent costs in memory while its child lives: its id in a list, and the edge in both directions."""

PARENT_BYTES: Final = 40
"""What is left of that when the child has completed: an id in a list."""


class Extra(Struct, gc=False):
    """What few jobs have. Times are wall ms; 0 = never.

    Attributes:
        run_at: when it may run or became ready; 0 = when it was created.
        attempts: failed attempts so far.
        started_at: when the last attempt began.
        unique_key, custom_id, depends_on, tags: what the client gave.
        progress: percent.
        message: last progress message or error text.
        fence_epoch, fence_serial: the newest attempt that has ended; tokens up to it are stale.
        returns: how often it was handed back uncounted.
        outlived: its ttl ended while it was active.
        inputs: results of its parents by their ids; None = it does not collect them, or has ended.
        input_bytes: what it was given to collect; above `MAX_INPUT_BYTES` nothing of it is kept.
        weight: bytes that `Jobs.bytes` counts for all this.
    """

    run_at: int = 0
    attempts: int = 0
    started_at: int = 0
    unique_key: str | None = None
    custom_id: str | None = None
    depends_on: list[int] | None = None
    tags: list[str] | None = None
    progress: int = 0
    message: str | None = None
    fence_epoch: int = 0
    fence_serial: int = 0
    returns: int = 0
    outlived: bool = False
    inputs: dict[int, bytes] | None = None
    input_bytes: int = 0
    weight: int = 0

    @property
    def overfull(self) -> bool:
        """Whether its parents returned more than one job can be given."""
        return self.input_bytes > MAX_INPUT_BYTES


class Chunk:
    """4,096 slots. The columns are read and written directly: a method call a job would cost more than the work."""

    __slots__ = ("created", "data", "lease", "live", "options", "state")

    def __init__(self) -> None:
        self.data: Column[bytes] = _EMPTY.copy()
        self.options: Column[Options] = _EMPTY.copy()
        self.created: Column[int] = [0] * CHUNK
        self.lease: Column[Lease] = _EMPTY.copy()
        self.state = bytearray(CHUNK)
        self.live = 0
        """Slots that hold a job."""

    def thin_out(self) -> None:
        """Keep no room for slots that hold no job. Nobody can tell, except by the memory and the time that it takes."""
        held = [slot for slot, state in enumerate(self.state) if state != UNKNOWN]
        self.data, self.options = Sparse(self.data, held), Sparse(self.options, held)
        self.created, self.lease = Sparse(self.created, held), Sparse(self.lease, held)


class Run(NamedTuple):
    """Consecutive ids that lie in one chunk: slots ``start`` to ``stop - 1``. Moved by slices instead of one by one."""

    chunk: Chunk
    start: int
    stop: int


class Jobs:
    """All jobs that are alive or remembered."""

    __slots__ = ("_dense", "bytes", "chunks", "collectors", "customs", "extras", "next_id")

    def __init__(self, next_id: int = 1) -> None:
        self.next_id = next_id
        self.chunks: dict[int, Chunk] = {}
        """By ``id >> CHUNK_BITS``; within a chunk a job's slot is ``id & MASK``."""
        self._dense: deque[int] = deque()
        """Chunks that were not thinned out, those first that were looked at longest ago."""
        self.extras: dict[int, Extra] = {}
        self.customs: dict[str, int] = {}
        """The clients' own ids."""
        self.bytes = 0
        """What all jobs cost in memory, about."""
        self.collectors = 0
        """Live jobs that collect the results of their parents."""

    def add(self, options: Options, data: bytes, created: int, state: int) -> int:
        """A new job; returns its id."""
        id = self.next_id
        self.next_id = id + 1
        chunk = self.chunks.get(id >> CHUNK_BITS)
        if chunk is None:
            chunk = self._new_chunk(id >> CHUNK_BITS)
        slot = id & MASK
        chunk.data[slot] = data
        chunk.options[slot] = options
        chunk.created[slot] = created
        chunk.state[slot] = state
        chunk.live += 1
        self.bytes += len(data) + JOB_BYTES
        return id

    def place(self, id: int, options: Options, data: bytes, created: int, state: int) -> Chunk:
        """Write a job that has its id already into its slot."""
        next_id, self.next_id = self.next_id, id
        self.add(options, data, created, state)
        self.next_id = next_id
        return self.chunks[id >> CHUNK_BITS]

    def add_run(self, options: Options, payloads: list[bytes], created: int, state: int) -> int:
        """Many new jobs with equal options; returns the first of their consecutive ids."""
        first = self.next_id
        count = len(payloads)
        self.next_id = first + count
        done = 0
        while done < count:
            id = first + done
            chunk = self.chunks.get(id >> CHUNK_BITS)
            if chunk is None:
                chunk = self._new_chunk(id >> CHUNK_BITS)
            slot = id & MASK
            part = min(count - done, CHUNK - slot)
            end = slot + part
            chunk.data[slot:end] = payloads[done : done + part] if part < count else payloads
            chunk.options[slot:end] = [options] * part
            chunk.created[slot:end] = [created] * part
            chunk.state[slot:end] = bytes((state,)) * part
            chunk.live += part
            done += part
        self.bytes += sum(map(len, payloads)) + count * JOB_BYTES
        return first

    def place_run(self, first: int, options: Options, payloads: list[bytes], created: int, state: int) -> None:
        """`place` for many jobs with consecutive ids and equal options."""
        next_id, self.next_id = self.next_id, first
        self.add_run(options, payloads, created, state)
        self.next_id = next_id

    def state(self, id: int) -> int:
        """The state of a job; UNKNOWN when there is no such job or it is forgotten."""
        chunk = self.chunks.get(id >> CHUNK_BITS)
        return UNKNOWN if chunk is None else chunk.state[id & MASK]

    def count(self, first: int, stop: int, state: int) -> int:
        """How many of the jobs from ``first`` to before ``stop`` are in a state that is not UNKNOWN."""
        count = 0
        while first < stop:
            end = min(stop, (first | MASK) + 1)
            chunk = self.chunks.get(first >> CHUNK_BITS)
            if chunk is not None:
                count += chunk.state.count(state, first & MASK, (end - 1 & MASK) + 1)
            first = end
        return count

    def options(self, id: int) -> Options:
        """The options of a job that exists."""
        return self.chunks[id >> CHUNK_BITS].options[id & MASK]

    def set_state(self, id: int, state: int) -> None:
        """Write the state of a job that exists."""
        self.chunks[id >> CHUNK_BITS].state[id & MASK] = state

    def extra(self, id: int) -> Extra:
        """The job's extra members, made if it has none."""
        extra = self.extras.get(id)
        if extra is None:
            extra = self.extras[id] = Extra()
        return extra

    def attach(self, id: int, extra: Extra) -> None:
        """Give a live job its extra, which it has not yet; what that costs is counted from now on."""
        self.extras[id] = extra
        if extra.depends_on:
            extra.weight = EDGE_BYTES * len(extra.depends_on)
        if extra.inputs is not None:
            self.collectors += 1
            extra.weight += sum(map(len, extra.inputs.values()))
        self.bytes += extra.weight

    def collect(self, extra: Extra, parent: int, result: bytes) -> bool:
        """A parent returned something. Tells whether it is kept: all of it is let go once it is too much."""
        assert extra.inputs is not None
        extra.input_bytes += len(result)
        if extra.overfull:
            self._count(extra, -sum(map(len, extra.inputs.values())))
            extra.inputs.clear()
            return False
        extra.inputs[parent] = result
        self._count(extra, len(result))
        return True

    def let_go(self, extra: Extra) -> int:
        """The job has ended: it needs neither inputs nor edges. Returns the bytes that are left to remember."""
        self._count(extra, -extra.weight)
        if extra.inputs is not None:
            self.collectors -= 1
            extra.inputs = None
        return PARENT_BYTES * len(extra.depends_on or ())

    def sizes(self, ids: Sequence[int]) -> list[int]:
        """What the payloads and inputs of these jobs add to an answer, in bytes."""
        chunks, extras = self.chunks, self.extras
        sizes = [len(chunks[id >> CHUNK_BITS].data[id & MASK]) for id in ids]
        if self.collectors:
            for place, id in enumerate(ids):
                extra = extras.get(id)
                if extra is not None and extra.inputs:
                    sizes[place] += extra.input_bytes
        return sizes

    def run(self, ids: Sequence[int]) -> Run | None:
        """Where ``ids`` lie, if they are consecutive and in one chunk that exists: the usual case of a batch.

        A lone id is no run: for it, slices would cost more than they save.
        """
        count = len(ids)
        if count < 2:
            return None
        first, last = ids[0], ids[-1]
        if last - first != count - 1 or first >> CHUNK_BITS != last >> CHUNK_BITS:
            return None
        chunk = self.chunks.get(first >> CHUNK_BITS)
        if chunk is None or ids != list(range(first, last + 1)):
            return None
        return Run(chunk, first & MASK, (last & MASK) + 1)

    def have_extras(self, ids: Sequence[int]) -> bool:
        """Whether any of these jobs has an extra."""
        return bool(self.extras) and not self.extras.keys().isdisjoint(ids)

    def by_attempts(self, ids: Sequence[int]) -> dict[int, Sequence[int]]:
        """Jobs by how many of their attempts have failed."""
        if not self.have_extras(ids):
            return {0: ids}
        groups: dict[int, list[int]] = {}
        for id in ids:
            extra = self.extras.get(id)
            groups.setdefault(extra.attempts if extra else 0, []).append(id)
        return {**groups}

    def forget(self, ids: list[int]) -> None:
        """Free the slots of jobs that are over."""
        run = self.run(ids)
        if run is None:
            freed = sum(map(self._free, ids))
        else:
            chunk, start, stop = run
            nothing = [None] * len(ids)
            freed = sum(map(len, chunk.data[start:stop]))
            chunk.state[start:stop] = bytes(len(ids))
            chunk.data[start:stop] = chunk.options[start:stop] = chunk.lease[start:stop] = nothing  # type: ignore[assignment]
            chunk.live -= len(ids)
            if not chunk.live:
                del self.chunks[ids[0] >> CHUNK_BITS]
        self.bytes -= freed + len(ids) * JOB_BYTES
        if self.have_extras(ids):
            for id in ids:
                extra = self.extras.pop(id, None)
                if extra is None:
                    continue
                self.let_go(extra)
                if extra.custom_id is not None:
                    del self.customs[extra.custom_id]

    def _new_chunk(self, number: int) -> Chunk:
        """An empty chunk. For each some old ones are looked at, so the work is spread over the jobs that come."""
        dense = self._dense
        for _ in range(min(LOOKED_AFTER, len(dense))):
            old = dense.popleft()
            chunk = self.chunks.get(old)
            if chunk is None:
                continue
            if chunk.live <= FEW:
                chunk.thin_out()
            else:
                dense.append(old)
        dense.append(number)
        made = self.chunks[number] = Chunk()
        return made

    def _count(self, extra: Extra, bytes: int) -> None:
        extra.weight += bytes
        self.bytes += bytes

    def _free(self, id: int) -> int:
        """Free one slot. Returns the size of its payload."""
        chunk = self.chunks[id >> CHUNK_BITS]
        slot = id & MASK
        size = len(chunk.data[slot])
        chunk.state[slot] = UNKNOWN
        chunk.data[slot] = chunk.options[slot] = chunk.lease[slot] = None  # type: ignore[call-overload]
        chunk.live -= 1
        if not chunk.live:
            del self.chunks[id >> CHUNK_BITS]
        return size
