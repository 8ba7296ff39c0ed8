"""Matching answers with requests, and when to come back: without a socket, a clock or chance."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.client.pipeline import (
    BACKOFF_BASE_MS,
    BACKOFF_CAP_MS,
    NEVER,
    REPEAT_RESERVE,
    Backoff,
    LineSplitter,
    Pipeline,
    RepeatBudget,
    checked_event,
    is_event,
)
from flashq.errors import ConnectionLost

OK = b'{"ok":true}'


def answer_to(req_id: str) -> bytes:
    """A good answer with an id."""
    return b'{"ok":true,"reqId":"%s"}' % req_id.encode()


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.binary(max_size=5), st.data())
def test_lines_do_not_depend_on_the_cuts(lines: list[bytes], rest: bytes, data: st.DataObject) -> None:
    """However the bytes are cut, the same lines come out; the unfinished rest does not."""
    stream = b"".join(line + b"\n" for line in lines) + rest.replace(b"\n", b"")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    splitter = LineSplitter()
    got = []
    for start, end in itertools.pairwise([0, *cuts, len(stream)]):
        got += splitter.feed(stream[start:end])
    assert got == lines


def test_answers_come_in_order() -> None:
    """Without ids, the first answer belongs to the first request."""
    pipeline: Pipeline[str] = Pipeline()
    pipeline.asked("a")
    pipeline.asked("b")
    assert len(pipeline) == 2
    assert pipeline.feed(b'{"ok":true,"id":1}\n{"ok":true,"id":2}\n') == [
        ("a", b'{"ok":true,"id":1}'),
        ("b", b'{"ok":true,"id":2}'),
    ]
    assert len(pipeline) == 0
    assert pipeline.answered == 2


def test_an_answer_with_an_id_overtakes() -> None:
    """An answer with a reqId goes to its request, whenever it comes."""
    pipeline: Pipeline[str] = Pipeline()
    pipeline.asked("parked", req_id="7")
    pipeline.asked("plain")
    assert pipeline.feed(OK + b"\n") == [("plain", OK)]
    assert pipeline.feed(answer_to("7") + b"\n") == [("parked", answer_to("7"))]


def test_a_payload_that_speaks_of_ids_is_no_id() -> None:
    """The word reqId inside a payload or a string does not misdirect an answer."""
    pipeline: Pipeline[str] = Pipeline()
    pipeline.asked("parked", req_id="7")
    pipeline.asked("plain")
    line = b'{"ok":true,"result":{"reqId":"7"}}'
    assert pipeline.feed(line + b"\n") == [("plain", line)]


def test_an_unreadable_line_goes_to_whoever_is_next() -> None:
    """A line that is no JSON is still somebody's answer; he is told that it is unreadable."""
    pipeline: Pipeline[str] = Pipeline()
    pipeline.asked("parked", req_id="7")
    pipeline.asked("plain")
    assert pipeline.feed(b'{"reqId" oops\n') == [("plain", b'{"reqId" oops')]


def test_events_are_kept_apart() -> None:
    """Event lines between answers disturb no order and wait in their own line."""
    pipeline: Pipeline[str] = Pipeline()
    pipeline.asked("a")
    event = b'{"event":{"event_type":"pushed"}}'
    assert pipeline.feed(event + b"\n" + OK + b"\n" + event + b"\n") == [("a", OK)]
    assert list(pipeline.events) == [event, event]
    assert is_event(event)
    assert not is_event(b'{"ok":true,"result":{"event":1}}')


@pytest.mark.parametrize("line", [OK, answer_to("9"), b"\xff\x00"])
def test_what_nobody_asked_for_ends_the_connection(line: bytes) -> None:
    """An answer too many means that the order is lost: better no connection than somebody else's answer."""
    pipeline: Pipeline[str] = Pipeline()
    with pytest.raises(ConnectionLost, match="nobody asked for"):
        pipeline.feed(line + b"\n")


def test_an_unknown_id_ends_the_connection() -> None:
    """An answer to a request that was never made is no answer to another one."""
    pipeline: Pipeline[str] = Pipeline()
    pipeline.asked("parked", req_id="7")
    with pytest.raises(ConnectionLost, match="not there"):
        pipeline.feed(answer_to("8") + b"\n")


def test_a_late_answer_is_dropped() -> None:
    """A request given up keeps its place: its answer goes to nobody, the next one to the right caller."""
    pipeline: Pipeline[str] = Pipeline()
    pipeline.asked("late", 10)
    pipeline.asked("patient", 20)
    pipeline.asked("parked", 10, req_id="1")
    assert pipeline.next_deadline() == 10
    assert pipeline.expire(10) == ["late", "parked"]
    assert pipeline.next_deadline() == 20
    assert pipeline.feed(b'{"ok":true,"id":1}\n' + answer_to("1") + b'\n{"ok":true,"id":2}\n') == [
        ("patient", b'{"ok":true,"id":2}')
    ]
    assert pipeline.next_deadline() == NEVER


def test_nothing_expires_twice() -> None:
    """Whoever was told once is not told again, neither at the next alarm nor at the end."""
    pipeline: Pipeline[str] = Pipeline()
    pipeline.asked("late", 10)
    pipeline.asked("parked", 10, req_id="1")
    pipeline.expire(10)
    assert pipeline.expire(11) == []
    assert pipeline.give_up() == []


def test_giving_up_tells_everybody() -> None:
    """When the connection ends, each who waits is named once, in the order of asking."""
    pipeline: Pipeline[str] = Pipeline()
    for name in "abc":
        pipeline.asked(name)
    pipeline.asked("parked", req_id="1")
    assert pipeline.give_up() == ["a", "b", "c", "parked"]
    assert len(pipeline) == 0


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["answer", "expire", "wait"])), max_size=30), st.randoms())
def test_everybody_gets_his_own_answer(plan: list[tuple[bool, str]], chance: object) -> None:
    """Whatever mixture of ids, expiries and orders: each answer goes to its asker, or, if he has gone, to nobody."""
    pipeline: Pipeline[int] = Pipeline()
    in_order, by_id, gone = [], [], set()
    for number, (has_id, fate) in enumerate(plan):
        if fate == "wait":
            continue
        pipeline.asked(number, 1.0 if fate == "expire" else NEVER, str(number) if has_id else None)
        line = b'{"ok":true,"id":%d' % number + (b',"reqId":"%d"}\n' % number if has_id else b"}\n")
        (by_id if has_id else in_order).append((number, line))
        if fate == "expire":
            gone.add(number)
    assert set(pipeline.expire(1.0)) == gone
    chance.shuffle(by_id)  # type: ignore[attr-defined]
    answers = list(in_order)
    for each in by_id:
        answers.insert(chance.randint(0, len(answers)), each)  # type: ignore[attr-defined]
    matched = pipeline.feed(b"".join(line for _, line in answers))
    assert [(number, line + b"\n") for number, line in matched] == [each for each in answers if each[0] not in gone]
    assert len(pipeline) == 0


def test_the_first_connection_waits_for_nothing() -> None:
    """A new client connects at once."""
    assert Backoff().delay_ms(0.999) == 0


def test_backoff_grows_to_its_cap() -> None:
    """The range doubles with each failure and stops at ten seconds; chance takes any share of it."""
    backoff = Backoff()
    ranges = []
    for _ in range(12):
        backoff.failed()
        ranges.append(backoff.delay_ms(1))
    assert ranges[:4] == [2 * BACKOFF_BASE_MS, 4 * BACKOFF_BASE_MS, 8 * BACKOFF_BASE_MS, 16 * BACKOFF_BASE_MS]
    assert ranges[-1] == BACKOFF_CAP_MS
    assert backoff.delay_ms(0.5) == BACKOFF_CAP_MS / 2
    assert backoff.delay_ms(0) == 0


def test_a_lost_connection_is_replaced_soon_but_not_by_all_at_once() -> None:
    """After a working connection the range is the shortest one, also if there had been failures before."""
    backoff = Backoff()
    backoff.failed()
    backoff.connected()
    assert backoff.delay_ms(1) == 0
    backoff.lost()
    assert backoff.delay_ms(1) == BACKOFF_BASE_MS


def test_who_is_told_to_wait_waits_for_longer() -> None:
    """By a random share of the range, as always; what a later failure does not ask for is forgotten."""
    backoff, busy = Backoff(), ConnectionLost("busy")
    busy.retry_after_ms = 7_000
    backoff.failed(busy)
    assert (backoff.delay_ms(0), backoff.delay_ms(1)) == (7_000, 7_000 + 2 * BACKOFF_BASE_MS)
    backoff.failed(OSError("gone"))
    assert backoff.delay_ms(0) == 0
    backoff.failed(busy)
    backoff.lost()
    assert backoff.delay_ms(0) == 0


def test_a_server_that_hangs_up_at_once_is_a_failing_one() -> None:
    """Connecting alone does not reset the backoff: else such a server would be called without a pause."""
    backoff = Backoff()
    for _ in range(3):
        backoff.connected()
        backoff.failed()
    assert backoff.delay_ms(1) == 8 * BACKOFF_BASE_MS


def test_the_budget_is_a_share_of_the_calls() -> None:
    """Once the reserve is used up, ten calls earn one repeat."""
    budget = RepeatBudget()
    assert all(budget.take() for _ in range(REPEAT_RESERVE))
    assert not budget.take()
    budget.calls += 25
    assert [budget.take() for _ in range(3)] == [True, True, False]


def test_the_budget_saves_only_up_to_its_reserve() -> None:
    """A day of good calls does not pay for an hour of nothing but repeats."""
    budget = RepeatBudget()
    budget.calls += 1_000_000
    assert sum(budget.take() for _ in range(REPEAT_RESERVE + 50)) == REPEAT_RESERVE


def test_events_that_were_left_out() -> None:
    """The mark that events were left out stands among them, does not take the place of an answer, and raises."""
    pipeline: Pipeline[str] = Pipeline()
    pipeline.asked("mine")
    answers = pipeline.feed(b'{"event":{"n":1}}\n{"lagged":3}\n{"ok":true}\n')
    assert answers == [("mine", b'{"ok":true}')]
    first, mark = pipeline.events
    assert checked_event(first) == first
    with pytest.raises(ConnectionLost, match="events were lost"):
        checked_event(mark)
