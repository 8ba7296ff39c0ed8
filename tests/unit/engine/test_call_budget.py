"""How many Python calls a command costs the engine: the same for one job and for a thousand.

Time is noisy, calls are not. A call for each job would cost more than all the rest of a batch, so the number may
not grow with the batch; and it may not creep up unseen, so it stands here. Whoever makes it smaller lowers the
constant; whoever must make it larger says why in the commit.
"""

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from msgspec import Raw

from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.model import Instant, JobSpec

NOW = Instant(1_700_000_000_000, 1_000)

PUSH_ONE = 8
ACK_ONE = 16
PUSH_BATCH = 9
PULL_BATCH = 14
ACK_BATCH = 19
MIXED = 12, 19
"""Of a batch with five priorities: pull, ack."""

SIZES = (1, 100, 1_000)


def calls(run: Callable[[], Any]) -> list[str]:
    """The Python functions that are called while something runs, the thing itself not counted."""
    names: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name != "<listcomp>":  # newer Pythons do not call those
            names.append(frame.f_code.co_qualname)

    gc.disable()  # a collection in between may call whoever asked to be told of it
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return names[1:]


@pytest.fixture
def engine() -> Engine:
    """An engine that records, nobody listens to, and whose queue has been used before; its nonces are made in C."""
    engine = Engine(Settings(), nonce="n".__str__, now=NOW, recording=True)
    queue = engine.queues.make("q")
    spec = JobSpec(data=Raw(b"{}"))
    for size in SIZES:  # columns, lanes and options exist
        engine.intake.push_batch(queue, [spec] * size, [b"{}"] * size, NOW)
        jobs = engine.dispatch.pull(queue, size, NOW)
        engine.settle.ack_batch([job.id for job in jobs], None, {}, NOW)
    engine.intake.push(queue, spec, b"{}", NOW)
    engine.settle.ack(engine.dispatch.pull(queue, 1, NOW)[0].id, None, None, NOW)
    engine.take_effects()
    return engine


def push(engine: Engine, size: int) -> list[str]:
    """Push a batch."""
    queue, specs, payloads = engine.queues.make("q"), [JobSpec(data=Raw(b"{}"))] * size, [b"{}"] * size
    return calls(lambda: engine.intake.push_batch(queue, specs, payloads, NOW))


def pull(engine: Engine, size: int) -> list[str]:
    """Pull as many."""
    queue = engine.queues.make("q")
    return calls(lambda: engine.dispatch.pull(queue, size, NOW))


def ack(engine: Engine, size: int) -> list[str]:
    """Acknowledge the newest jobs."""
    ids = list(range(engine.jobs.next_id - size, engine.jobs.next_id))
    tokens = [f"1.{engine.dispatch._serial:x}.n"] * size
    return calls(lambda: engine.settle.ack_batch(ids, tokens, {}, NOW))


@pytest.mark.parametrize("size", SIZES)
def test_a_batch_costs_the_same_calls_whatever_its_size(engine: Engine, size: int) -> None:
    """PUSHB, PULLB, ACKB of one kind of job; a batch of one may be cheaper."""
    counts = [push(engine, size), pull(engine, size), ack(engine, size)]
    assert engine.lookup.stats().processing == 0
    for called, budget in zip(counts, (PUSH_BATCH, PULL_BATCH, ACK_BATCH), strict=True):
        assert len(called) == budget or (size == 1 and len(called) < budget), called


def test_a_lone_command(engine: Engine) -> None:
    """PUSH and ACK have a way of their own, which is not longer."""
    queue, spec = engine.queues.make("q"), JobSpec(data=Raw(b"{}"))
    pushed = calls(lambda: engine.intake.push(queue, spec, b"{}", NOW))
    (job,) = engine.dispatch.pull(queue, 1, NOW)
    acked = calls(lambda: engine.settle.ack(job.id, str(job.token), None, NOW))
    assert len(pushed) == PUSH_ONE, pushed
    assert len(acked) == ACK_ONE, acked


@pytest.mark.parametrize("size", [100, 1_000])
def test_a_mixed_batch_is_pulled_and_acked_as_cheaply(engine: Engine, size: int) -> None:
    """Whatever the priorities: pulls and acks ask their parts once a batch."""
    queue = engine.queues.make("q")
    specs = [JobSpec(data=Raw(b"{}"), priority=n % 5) for n in range(size)]
    engine.intake.push_batch(queue, specs, [b"{}"] * size, NOW)
    pulled, acked = pull(engine, size), ack(engine, size)
    assert (len(pulled), len(acked)) == MIXED, (pulled, acked)
