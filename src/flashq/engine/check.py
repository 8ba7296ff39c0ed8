"""Every invariant of the engine, as one function that lists the violations.

Shipped with the product: the server refuses to start on a restored engine with a violation, tests and the simulator
ask after every step. It reads everything and changes nothing; its cost is proportional to the jobs.
"""

from collections import Counter
from itertools import compress
from typing import Final

from flashq.engine.engine import Engine
from flashq.engine.jobs import CHUNK, CHUNK_BITS, EDGE_BYTES, JOB_BYTES, MASK
from flashq.engine.leases import Lease
from flashq.engine.lifecycle import LIVE
from flashq.engine.queue import Queue
from flashq.engine.waiters import Waiter
from flashq.model import ACTIVE, COMPLETED, DELAYED, FAILED, UNKNOWN, WAITING, WAITING_CHILDREN

_SLOTS: Final = range(CHUNK)

# The jobs of each queue by their state.
_Found = dict[Queue, dict[int, list[int]]]


def check(engine: Engine) -> list[str]:
    """What is wrong, one sentence each; nothing when all is well."""
    found = _by_state(engine)
    return [
        *_columns(engine),
        *_queues(engine, found),
        *_leases(engine, found),
        *_waits(engine, found),
        *_indexes(engine, found),
        *_webhooks(engine),
    ]


def _by_state(engine: Engine) -> _Found:
    found: _Found = {}
    for number, chunk in engine.jobs.chunks.items():
        for slot in compress(_SLOTS, chunk.state):
            by_state = found.setdefault(chunk.options[slot].queue, {})
            by_state.setdefault(chunk.state[slot], []).append((number << CHUNK_BITS) + slot)
    return found


def _columns(engine: Engine) -> list[str]:
    wrong: list[str] = []
    size = 0
    for number, chunk in engine.jobs.chunks.items():
        live = list(compress(_SLOTS, chunk.state))
        size += sum(len(chunk.data[slot]) + JOB_BYTES for slot in live)
        if chunk.live != len(live):
            wrong.append(f"chunk {number} counts {chunk.live} jobs and holds {len(live)}")
        if live and (number << CHUNK_BITS) + live[-1] >= engine.jobs.next_id:
            wrong.append(f"job {(number << CHUNK_BITS) + live[-1]} is not below the next id {engine.jobs.next_id}")
        held = set(compress(_SLOTS, chunk.lease[0:CHUNK]))
        due = {slot for slot in live if chunk.state[slot] in (ACTIVE, COMPLETED)}
        if held != due:
            wrong.append(f"chunk {number}: leases at slots {sorted(held ^ due)[:5]} do not fit the states")
    size += sum(extra.weight for extra in engine.jobs.extras.values())
    if size != engine.jobs.bytes:
        wrong.append(f"{engine.jobs.bytes} bytes are accounted for, {size} are held")
    return wrong


def _queues(engine: Engine, found: _Found) -> list[str]:
    wrong: list[str] = []
    totals: Counter[int] = Counter()
    for name, queue in engine.queues.by_name.items():
        by_state = found.get(queue, {})
        for state in (WAITING, DELAYED, ACTIVE, FAILED, WAITING_CHILDREN):
            totals[state] += queue.counts[state]
            if queue.counts[state] != len(by_state.get(state, ())):
                wrong.append(
                    f"{name}: counts {queue.counts[state]} in state {state}, has {len(by_state.get(state, ()))}"
                )
        totals[COMPLETED] += queue.counts[COMPLETED]
        waiting = set(by_state.get(WAITING, ()))
        line = Counter(queue.ready.ids())
        if not waiting <= line.keys():
            wrong.append(f"{name}: waiting jobs {sorted(waiting - line.keys())[:5]} are not in the line")
        if line.total() != queue.ready.length or queue.ready.length - queue.ready.tombstones != len(waiting):
            wrong.append(
                f"{name}: the line of {queue.ready.length} less {queue.ready.tombstones} is not {len(waiting)}"
            )
        if set(queue.dead) != set(by_state.get(FAILED, ())):
            wrong.append(f"{name}: dead letters and failed jobs differ")
        live = sum(queue.counts[state] for state in LIVE)
        gone = queue.counts[COMPLETED] + queue.cancelled + queue.expired + queue.purged
        if queue.pushed != live + gone:
            wrong.append(f"{name}: {queue.pushed} pushed, {live} live and {gone} gone")
    strangers = [queue.name for queue in found if engine.queues.by_name.get(queue.name) is not queue]
    if strangers:
        wrong.append(f"jobs of queues that are not known: {strangers}")
    if any(engine.queues.counts[state] != totals[state] for state in (*LIVE, COMPLETED)):
        wrong.append(f"totals {engine.queues.counts} are not the sums of the queues")
    return wrong


def _leases(engine: Engine, found: _Found) -> list[str]:
    wrong: list[str] = []
    held: Counter[Lease] = Counter()
    for by_state in found.values():
        for id in by_state.get(ACTIVE, ()):
            lease: Lease | None = engine.jobs.chunks[id >> CHUNK_BITS].lease[id & MASK]
            if lease is None:  # told by _columns
                continue
            held[lease] += 1
            if id not in lease.ids:
                wrong.append(f"active job {id} is not listed by its lease")
            if not lease.deadline and (lease.worker is None or lease.worker.gone):
                wrong.append(f"active job {id} has no end: neither a deadline nor a living worker")
    timed = {lease for _, _, lease in engine.clocks.leases.entries()}
    for lease, count in held.items():
        if lease.open != count:
            wrong.append(f"lease {lease.token} counts {lease.open} jobs, holds {count}")
        if lease.deadline and lease not in timed:
            wrong.append(f"lease {lease.token} has a deadline and no timer")
    return wrong


def _waits(engine: Engine, found: _Found) -> list[str]:
    wrong: list[str] = []
    lines = {(name, token) for name, queue in engine.queues.by_name.items() for token in queue.waiters.line}
    pulls = [call for call in engine.parking.calls.values() if isinstance(call, Waiter)]
    parked = {(name, pull.token) for pull in pulls for name in pull.queues}
    if lines != parked:
        wrong.append(f"clients stand in {len(lines)} places in line and are parked for {len(parked)}")
    watched = engine.watchers.by_job
    others = sum(map(len, watched.values())) + len(engine.beats.waiting)
    if len(pulls) + others != len(engine.parking):
        wrong.append(f"{len(pulls)} pulls and {others} other calls wait, {len(engine.parking)} are parked")
    if any(worker.gone or worker.ended for worker in engine.beats.waiting):
        wrong.append("a BEAT waits although there is something to tell it")
    ended = [id for id in watched if engine.jobs.state(id) in (UNKNOWN, COMPLETED, FAILED)]
    if ended:
        wrong.append(f"calls wait for the end of jobs that have ended: {ended[:5]}")
    for name, queue in engine.queues.by_name.items():
        if queue.waiters and queue.counts[WAITING] and queue.limits.free:
            wrong.append(f"{name}: clients wait although jobs are ready")
    delayed = {(due, id) for due, _, id in engine.clocks.delays.entries()}
    for by_state in found.values():
        wrong += [
            f"delayed job {id} has no timer"
            for id in by_state.get(DELAYED, ())
            if (engine.jobs.extras[id].run_at, id) not in delayed
        ]
    return wrong


def _indexes(engine: Engine, found: _Found) -> list[str]:
    wrong: list[str] = []
    jobs = engine.jobs
    keys = {(queue.name, key): id for queue in engine.queues.by_name.values() for key, id in queue.keys.items()}
    owned = {
        (jobs.options(id).queue.name, extra.unique_key): id
        for id, extra in jobs.extras.items()
        if extra.unique_key is not None and jobs.state(id) in LIVE
    }
    if keys != owned:
        wrong.append(f"unique keys and their owners differ: {sorted(keys.items() ^ owned.items())[:5]}")
    customs = {extra.custom_id: id for id, extra in jobs.extras.items() if extra.custom_id is not None}
    if customs != jobs.customs:
        wrong.append("the clients' own ids and their jobs differ")
    if any(jobs.state(id) == UNKNOWN for id in jobs.extras):
        wrong.append("there are extras of jobs that are forgotten")
    wrong += _inputs(engine)
    children = {id for by_state in found.values() for id in by_state.get(WAITING_CHILDREN, ())}
    waiting = engine.graph.waiting()
    if children != waiting.keys():
        wrong.append(f"waiting children {sorted(children ^ waiting.keys())[:5]} are not those of the graph")
    for child, parents in waiting.items():
        if not parents or any(jobs.state(parent) not in LIVE for parent in parents):
            wrong.append(f"child {child} waits for parents that are over: {sorted(parents)[:5]}")
    completed = {id for by_state in found.values() for id in by_state.get(COMPLETED, ())}
    if completed != set(engine.finished.ids()):
        wrong.append("remembered completions and completed jobs differ")
    if not engine.finished.results.keys() <= completed:
        wrong.append("there are results of jobs that are forgotten")
    return wrong


def _inputs(engine: Engine) -> list[str]:
    """What children collect, and what that and their edges are said to cost."""
    wrong: list[str] = []
    collectors = 0
    for id, extra in engine.jobs.extras.items():
        over = engine.jobs.state(id) in (COMPLETED, UNKNOWN)
        held = sum(map(len, (extra.inputs or {}).values()))
        collectors += extra.inputs is not None
        if extra.weight != (0 if over else EDGE_BYTES * len(extra.depends_on or ()) + held):
            wrong.append(f"job {id} is counted with {extra.weight} bytes for its parents and inputs")
        if extra.inputs is None:
            continue
        if over or not extra.inputs.keys() <= set(extra.depends_on or ()):
            wrong.append(f"job {id} holds inputs that are not its parents', or is over")
        if held != (0 if extra.overfull else extra.input_bytes):
            wrong.append(f"job {id} counts {extra.input_bytes} bytes of inputs, holds {held}")
    if collectors != engine.jobs.collectors:
        wrong.append(f"{engine.jobs.collectors} jobs are said to collect inputs, {collectors} do")
    return wrong


def _webhooks(engine: Engine) -> list[str]:
    """What is owed to webhooks."""
    wrong: list[str] = []
    hooks = engine.webhooks
    held = sum(len(call.body) for call in hooks.owed.values())
    if hooks.bytes != held:
        wrong.append(f"webhooks are owed {hooks.bytes} bytes, {held} are held")
    owed = Counter(call.webhook.row.id for call in hooks.owed.values())
    counted = Counter({id: webhook.owed for id, webhook in hooks.by_id.items() if webhook.owed})
    if owed != counted:
        differ = sorted((owed - counted) | (counted - owed))
        wrong.append(f"calls are owed to webhooks {differ[:5]}, and others are counted")
    if bool(hooks.by_id) != (engine.outbox.also is not None):
        wrong.append(f"there are {len(hooks.by_id)} webhooks, and whether they are shown events does not fit")
    return wrong
