"""The parts of one queue, the table of queues, and the counters over all of them."""

import sys

import pytest
from tests.unit.engine.bench import waiter

from flashq.engine import queue as module
from flashq.engine.queue import Queue, Queues
from flashq.errors import LimitReached
from flashq.model import ACTIVE, COMPLETED, UNKNOWN, WAITING


def test_equal_options_are_one_object() -> None:
    """A million jobs of one kind share one object; another kind gets its own."""
    queue = Queue("q")
    options = queue.options(1, 2, 3, 4, 5)
    assert queue.options(1, 2, 3, 4, 5) is options
    assert queue.options(1, 2, 3, 4, 6) is not options
    assert (options.queue, options.priority, options.max_attempts) == (queue, 1, 2)
    assert (options.backoff, options.ttl, options.timeout) == (3, 4, 5)


def test_ever_changing_options_do_not_pile_up() -> None:
    """Jobs of a thousand kinds are legal; the table of what is shared starts over."""
    queue = Queue("q")
    first = queue.options(0, 0, 0, 0, 0)
    for timeout in range(1, module._MOST_OPTIONS + 2):
        queue.options(0, 0, 0, 0, timeout)
    assert len(queue._options) <= module._MOST_OPTIONS
    assert queue.options(0, 0, 0, 0, 0) is not first


def test_a_queue_is_made_once() -> None:
    """The same name is the same queue."""
    queues = Queues()
    assert queues.make("a") is queues.make("a")
    assert list(queues.by_name) == ["a"]


def test_there_are_no_more_queues_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """One queue too many is refused, those that are there go on."""
    monkeypatch.setattr(module, "MAX_QUEUES", 2)
    queues = Queues()
    queues.make("a")
    queues.make("b")
    with pytest.raises(LimitReached, match=r"^Too many queues \(max 2\)$"):
        queues.make("c")
    assert queues.make("b").name == "b"


def test_a_queue_that_holds_nothing_is_left() -> None:
    """A queue without jobs, settings and waiting clients is nobody's business and is forgotten."""
    queues = Queues()
    queue = queues.make("a")
    assert not queue.listed
    queue.waiters.park(waiter("ann", "a", 1))
    queues.leave(queue)
    assert "a" in queues.by_name
    queue.waiters.pop()
    queues.leave(queue)
    assert "a" not in queues.by_name
    queues.leave(queue)  # twice is nothing


@pytest.mark.parametrize("what", ["job", "pause", "rate", "concurrency"])
def test_a_queue_with_a_job_or_a_setting_stays(what: str) -> None:
    """Whatever a user would miss keeps a queue in the listing."""
    queues = Queues()
    queue = queues.make("a")
    if what == "job":
        queue.pushed = 1
    elif what == "pause":
        queue.limits.set_paused(True)
    elif what == "rate":
        queue.limits.set_rate(1, 0)
    else:
        queue.limits.set_concurrency(1)
    queues.leave(queue)
    assert queue.listed
    assert "a" in queues.by_name


def test_moves_are_counted_for_the_queue_and_for_all() -> None:
    """Jobs come from outside, move and leave; the totals are the sums."""
    queues = Queues()
    a, b = queues.make("a"), queues.make("b")
    queues.move(a, UNKNOWN, WAITING, 5)
    queues.move(b, UNKNOWN, WAITING)
    queues.move(a, WAITING, ACTIVE, 3)
    queues.move(a, ACTIVE, COMPLETED)
    queues.move(a, WAITING, UNKNOWN, 2)
    assert (a.counts[WAITING], a.counts[ACTIVE], a.counts[COMPLETED]) == (0, 2, 1)
    assert (queues.counts[WAITING], queues.counts[ACTIVE], queues.counts[COMPLETED]) == (1, 2, 1)
    assert queues.counts[UNKNOWN] == 0


def test_a_queue_that_was_left_is_freed() -> None:
    """Its options know it; ten thousand refused pushes to as many names must not stay in memory."""
    queues = Queues()
    queue = queues.make("emails")
    queue.plain = queue.options(0, 3, 1_000, 0, 0)
    queues.leave(queue)
    assert sys.getrefcount(queue) == 2  # our own name for it, and the argument
