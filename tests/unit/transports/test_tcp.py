"""Unit tests of `flashq.transports.tcp`: what a socket cannot be made to do on command."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Hashable

import pytest
from tests.unit.transports.bench import Answer, Bench, Line

from flashq.engine.trail import Question
from flashq.engine.waiters import Call
from flashq.errors import StorageError
from flashq.model import Event, Instant
from flashq.observe.ring import Told
from flashq.security.identity import Identity
from flashq.transports import base, tcp
from flashq.transports.base import BREATH_BYTES, SMALL_UNFINISHED_BYTES
from flashq.transports.tcp import TURN_LINES

OK = {"ok": True}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Everything is durable at once. A coroutine, since connections start timers on the running loop."""
    bench = Bench()
    yield bench
    _cancel_timers(bench)


@pytest.fixture
async def lazy() -> AsyncIterator[Bench]:
    """Nothing is durable until the test says so."""
    bench = Bench(lazy=True)
    yield bench
    _cancel_timers(bench)


def _cancel_timers(bench: Bench) -> None:
    for connection in bench.connected:
        if connection._timer is not None:
            connection._timer.cancel()


def push(line: Line, queue: str = "q", **members: object) -> int:
    """Push a job; returns its id."""
    (answer,) = line.send("PUSH", queue=queue, data=1, **members)
    id: int = answer["id"]
    return id


def state(bench: Bench, id: int) -> str:
    """What the engine says of a job."""
    return bench.engine.lookup.state(id)


# --- the gate ---


async def test_answers_wait_for_the_disk(lazy: Bench) -> None:
    """No answer leaves before what it depends on is durable, and all leave in order."""
    line = lazy.connect()
    assert line.send("PING") == [OK]
    assert line.send("PUSH", queue="q", data=1) == []
    assert line.send("PING") == []
    assert line.send("PUSH", queue="q", data=2) == []
    lazy.turns.sync(1)
    assert line.answers() == [{"ok": True, "id": 1}, OK]
    lazy.turns.sync()
    assert line.answers() == [{"ok": True, "id": 2}]
    assert line.send("PING") == [OK]


async def test_what_others_read_waits_as_well(lazy: Bench) -> None:
    """A read or a delivery that shows a change is held until the change is durable."""
    one, other, waiting = lazy.connect(), lazy.connect(), lazy.connect()
    assert waiting.send("PULL", queue="q") == []
    one.send("PUSH", queue="q", data=1)
    assert other.send("GETSTATE", id=1) == []
    assert waiting.answers() == []
    lazy.turns.sync()
    assert other.answers() == [{"ok": True, "id": 1, "state": "active"}]
    assert waiting.answers()[0]["job"]["id"] == 1


async def test_a_job_whose_answer_never_left_goes_back(lazy: Bench) -> None:
    """The connection is lost while the delivery waits for the disk: the job is ready again, uncounted."""
    line, other = lazy.connect(), lazy.connect()
    line.feed(b'{"cmd":"PUSHB","queue":"q","jobs":[{"data":1},{"data":2},{"data":3}]}\n')
    line.feed(b'{"cmd":"PULL","queue":"q"}\n{"cmd":"PULLB","queue":"q","count":5}\n')
    assert line.answers() == []
    assert [state(lazy, id) for id in (1, 2, 3)] == ["active"] * 3
    line.lose()
    assert lazy.left == [line.connection]
    lazy.turns.sync()
    (answer,) = other.send("PULLB", queue="q", count=5)
    assert sorted((job["id"], job["attempts"]) for job in answer["jobs"]) == [(1, 0), (2, 0), (3, 0)]


async def test_a_connection_that_is_closing_keeps_what_it_was_held(lazy: Bench) -> None:
    """Between the reset and its notice the disk reports: the answer is not written to nobody, the job goes back."""
    line, other = lazy.connect(), lazy.connect()
    line.feed(b'{"cmd":"PUSH","queue":"q","data":1}\n{"cmd":"PULL","queue":"q"}\n')
    line.transport.closed = True
    lazy.turns.sync()
    line.lose()
    lazy.turns.sync()
    assert line.answers() == []
    (answer,) = other.send("PULL", queue="q", timeout=0)
    assert (answer["job"]["id"], answer["job"]["attempts"]) == (1, 0)


async def test_a_delivery_to_a_connection_that_is_closing_goes_back(bench: Bench) -> None:
    """The same without a disk: a parked pull of a connection that is about to be lost."""
    line, other = bench.connect(), bench.connect()
    line.send("PULL", queue="q")
    line.transport.aborted = True
    id = push(other)
    line.lose()
    (answer,) = other.send("PULL", queue="q", timeout=0)
    assert (answer["job"]["id"], answer["job"]["attempts"]) == (id, 0)


async def test_a_disk_that_does_not_answer_refuses_everything_that_was_held(lazy: Bench) -> None:
    """Each answer that may never be true is replaced by the error, with its reqId; then it goes on as before."""
    line = lazy.connect()
    line.send("PUSH", queue="q", data=1)
    line.send("PUSH", queue="q", data=1, reqId="r")
    line.send("PING")
    line.connection.refuse(StorageError("The disk failed"))
    failed = {"ok": False, "error": "The disk failed", "code": "storage_error"}
    assert line.answers() == [failed, {**failed, "reqId": "r"}, failed]
    assert not line.transport.closed
    lazy.turns.sync()
    line.send("PUSH", queue="q", data=1)
    assert line.answers() == []
    lazy.turns.sync()
    assert line.answers() == [{"ok": True, "id": 3}]
    assert line.connection._owed == 0


async def test_jobs_of_refused_answers_go_back_when_storage_is_back(lazy: Bench) -> None:
    """Whoever asked has not been told of them; until then nobody else is either, for what tells of it is not safe."""
    line = lazy.connect()
    line.feed(b'{"cmd":"PUSH","queue":"q","data":1}\n{"cmd":"PULL","queue":"q"}\n')
    lazy.turns.away = True
    line.connection.refuse(StorageError("away"))
    assert [answer["code"] for answer in line.answers()] == ["storage_error"] * 2
    assert [job.id for job in lazy.turns.unread] == [1]
    assert lazy.engine.lookup.stats().processing == 1
    line.lose()
    assert [job.id for job in lazy.turns.unread] == [1]


async def test_a_server_that_leaves_after_a_failure_closes_what_it_refused(lazy: Bench) -> None:
    """The client gets the error, and then the end."""
    line = lazy.connect()
    line.send("PUSH", queue="q", data=1)
    lazy.turns.away = True
    line.connection.refuse(StorageError("The disk failed"))
    line.connection.drain()
    assert [answer["code"] for answer in line.answers()] == ["storage_error"]
    assert line.transport.eof


async def test_a_pull_whose_time_is_over_while_storage_is_away_is_refused(bench: Bench) -> None:
    """That there is nothing would be a claim; a pull that something ends is refused in the same words."""
    line = bench.connect()
    line.send("PULL", queue="q", timeout=50)
    bench.context.set_away(True)
    bench.turns.pass_time(50)
    assert [answer["code"] for answer in line.answers()] == ["storage_error"]
    bench.context.set_away(False)
    line.send("PULL", queue="q")
    bench.context.set_away(True)
    first, second = line.send("PING")
    assert (first["code"], second) == ("storage_error", OK)


async def test_an_error_that_no_command_may_raise_ends_the_server(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is not to be trusted after it: the runtime is told, and no answer claims otherwise."""

    def fail(*_: object) -> None:
        raise RuntimeError("impossible")

    monkeypatch.setattr(tcp, "execute", fail)
    line = bench.connect()
    with pytest.raises(RuntimeError):
        line.feed(b'{"cmd":"PING"}\n')
    assert [str(error) for error in bench.turns.broke] == ["impossible"]
    assert line.answers() == []


# --- back-pressure ---


async def test_reading_stops_while_the_client_does_not_read(bench: Bench) -> None:
    """Above the mark no command is read; once the client has read, it goes on."""
    line = bench.connect()
    id = push(line, delay=1_000)
    line.transport.stalled = True
    line.transport.unread = tcp.WRITE_HIGH_BYTES
    line.send("GETJOB", id=id)
    assert not line.transport.reading
    line.transport.drained()
    assert line.transport.reading


async def test_short_lines_with_long_answers_wait_for_room(bench: Bench) -> None:
    """What one read asks for is carried out only as far as there is room for the answers, and later the rest."""
    line = bench.connect()
    (answer,) = line.send("PUSH", queue="q", data="x" * 1_000_000, delay=1_000)
    bench.turns.next_turn()
    line.transport.stalled = True
    line.feed(b'{"cmd":"GETJOB","id":%d}\n' % answer["id"] * 100 + b'{"cmd":"PING"}\n')
    assert tcp.WRITE_HIGH_BYTES < line.transport.unread < 2 * tcp.WRITE_HIGH_BYTES
    assert not line.transport.reading
    answers: list[Answer] = line.answers()
    while not line.transport.reading:
        line.transport.drained()
        more = line.answers()
        assert sum(len(json.dumps(answer)) for answer in more) < 2 * tcp.WRITE_HIGH_BYTES
        answers += more
    assert len(answers) == 101
    assert answers[-1] == OK


async def test_long_answers_that_wait_for_the_disk_are_bounded_too(lazy: Bench) -> None:
    """Answers that are held are memory as well."""
    line = lazy.connect()
    line.feed(b'{"cmd":"PUSH","queue":"q","delay":1000,"data":"%b"}\n' % (b"x" * 1_000_000))
    line.feed(b'{"cmd":"GETJOB","id":1}\n' * 100)
    assert not line.transport.reading
    assert line.connection._owed < 2 * tcp.WRITE_HIGH_BYTES
    lazy.turns.sync()
    assert len(line.answers()) == 101
    lazy.turns.next_turn()
    assert line.transport.reading
    assert line.connection._owed == 0


async def test_reading_stops_while_too_much_waits_for_the_disk(lazy: Bench) -> None:
    """So many chunks of answers may be held, then reading stops until some have left."""
    line = lazy.connect()
    for _ in range(tcp.MAX_HELD):
        assert line.transport.reading
        line.send("PUSH", queue="q", data=1)
    assert not line.transport.reading
    lazy.turns.sync(1)
    assert line.transport.reading


async def test_the_disk_holds_everybody_back(bench: Bench) -> None:
    """The runtime stops and starts all doors, those that come meanwhile included."""
    line = bench.connect()
    bench.turns.held_back = True
    line.connection.hold_back()
    late = bench.connect()
    assert not line.transport.reading
    assert not late.transport.reading
    bench.turns.held_back = False
    line.connection.go_on()
    late.connection.go_on()
    assert line.transport.reading
    assert late.transport.reading


async def test_large_reads_let_the_others_go_first(bench: Bench) -> None:
    """After a large read the client waits for its turn; a small one needs none, and the lost one is not asked."""
    line, other, gone = bench.connect(), bench.connect(), bench.connect()
    other.send("PING")
    assert other.transport.reading
    ping = b'{"cmd":"PING","more":"%b"}\n' % (b"x" * 1_000)
    large = ping * (BREATH_BYTES // len(ping) + 1)
    assert len(large) < TURN_LINES * len(ping) / 2
    for one in (line, gone, other):
        one.feed(large)
        one.feed(large)  # what had been read already
        assert not one.transport.reading
    gone.lose()
    bench.turns.next_turn()
    assert line.transport.reading
    assert not other.transport.reading
    bench.turns.next_turn()
    bench.turns.next_turn()
    assert other.transport.reading
    assert bench.turns.patient == []
    assert len(line.answers()) == len(large) // len(ping) * 2


async def test_many_short_lines_let_the_others_go_first(bench: Bench) -> None:
    """They are carried out in their order, a bounded number a turn; what had been read already comes behind them."""
    line = bench.connect()
    marked = [b'{"cmd":"PING","reqId":"%d"}\n' % n for n in range(2 * TURN_LINES + 5)]
    line.feed(b"".join(marked[:-2]))
    line.feed(b"".join(marked[-2:]))
    counts = [len(found := line.answers())]
    while not line.transport.reading:
        bench.turns.next_turn()
        more = line.answers()
        counts.append(len(more))
        found += more
    assert counts == [TURN_LINES, TURN_LINES, 5]
    assert [answer["reqId"] for answer in found] == [str(n) for n in range(len(marked))]
    assert bench.turns.patient == []


async def test_many_short_lines_of_one_who_says_no_more(bench: Bench) -> None:
    """All of them are answered before the connection ends."""
    line = bench.connect()
    line.feed(b"\n" * (TURN_LINES + 5))
    line.connection.eof_received()
    assert not line.transport.is_closing()
    bench.turns.next_turn()
    assert len(line.answers()) == TURN_LINES + 5
    assert line.transport.is_closing()


async def test_many_lines_with_long_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for room comes before what waits for its turn."""
    monkeypatch.setattr(tcp, "TURN_LINES", 30)
    line = bench.connect()
    (answer,) = line.send("PUSH", queue="q", data="x" * 1_000_000, delay=1_000)
    line.transport.stalled = True
    line.feed(b"".join(b'{"cmd":"GETJOB","id":%d,"reqId":"%d"}\n' % (answer["id"], n) for n in range(100)))
    found = line.answers()
    while not line.transport.reading:
        line.transport.drained()
        while bench.turns.patient:
            bench.turns.next_turn()
        found += line.answers()
    assert [int(answer["reqId"]) for answer in found] == list(range(100))


async def test_unfinished_lines_are_bounded_over_all_connections(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The large line that meets the bound is refused, small ones are not, and what ends makes room."""
    monkeypatch.setattr(base, "MAX_UNFINISHED_BYTES", 3 * SMALL_UNFINISHED_BYTES)
    one, other, small = bench.connect(), bench.connect(), bench.connect()
    large = b"x" * (2 * SMALL_UNFINISHED_BYTES)
    one.feed(large)
    other.feed(b'{"cmd":"PING"}\n' + large)
    ok, refused = other.answers()
    assert ok == OK
    assert refused["code"] == "overloaded"
    assert other.transport.eof
    assert bench.context.unfinished == len(large)
    small.feed(b"x" * SMALL_UNFINISHED_BYTES)
    assert not small.transport.eof
    one.feed(b"\n")
    assert [answer["code"] for answer in one.answers()] == ["bad_request"]
    small.lose()
    other.lose()
    assert bench.context.unfinished == 0


async def test_a_lost_connection_is_freed_without_the_collector(bench: Bench) -> None:
    """It may hold megabytes, and the collector comes late."""
    line = bench.connect()
    line.send("SUBSCRIBE", queue="*", events=[])
    line.send("PULL", queue="q")
    line.feed(b"x" * 1_000)
    line.lose()
    trace = weakref.ref(line.connection)
    line.transport.connection = None
    bench.connected.clear()
    bench.left.clear()
    gc.disable()
    try:
        del line
        assert trace() is None
    finally:
        gc.enable()


async def test_a_client_that_is_stuck_is_cut_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it reads a little it may stay; when nothing moves it is cut off."""
    monkeypatch.setattr(tcp, "STUCK_SECONDS", 0.01)
    line = bench.connect()
    line.transport.unread = 100
    line.connection.pause_writing()
    line.transport.unread = 99
    line.connection._still_stuck()
    assert not line.transport.aborted
    line.connection._still_stuck()
    assert line.transport.aborted


# --- ending ---


async def test_ending_a_connection_ends_its_waiting(bench: Bench) -> None:
    """Once the server has said its last word, no job and no event is written behind it."""
    line, other = bench.connect(), bench.connect()
    line.send("SUBSCRIBE", queue="*", events=[])
    line.send("PULL", queue="q", reqId="r")
    line.send("PULL", queue="q")
    line.feed(b"x" * (16 * 1024 * 1024 + 1))
    answers = line.answers()
    assert [answer.get("job", answer.get("code")) for answer in answers] == [None, None, "too_large"]
    assert line.transport.eof
    id = push(other)
    (answer,) = other.send("PULL", queue="q", timeout=0)
    assert answer["job"]["id"] == id
    line.connection.resume_writing()


async def test_a_last_answer_that_is_not_read_keeps_no_connection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the end the client may read what is left as long as it does read; then it is cut off."""
    line = bench.connect()
    line.transport.unread = 500
    line.feed(b"x" * (16 * 1024 * 1024 + 1))
    line.transport.unread = 400
    line.connection._linger()
    assert not line.transport.aborted
    line.connection._linger()
    assert line.transport.aborted


async def test_half_close_waits_for_the_disk(lazy: Bench) -> None:
    """A client that has said everything gets its answers when they are true, and only then the connection closes."""
    line = lazy.connect()
    line.send("PUSH", queue="q", data=1)
    line.send("PULL", queue="other")
    assert line.connection.eof_received() is True
    assert not line.transport.closed
    lazy.turns.sync()
    assert line.answers() == [{"ok": True, "id": 1}, {"ok": True, "job": None}]
    assert line.transport.closed


async def test_a_closed_client_that_comes_after_the_goodbye_is_closed(bench: Bench) -> None:
    """The server has ended the connection; when the client ends it too, it is closed at once."""
    line = bench.connect()
    line.connection.drain()
    assert line.transport.eof
    assert not line.transport.closed
    line.connection.eof_received()
    assert line.transport.closed


async def test_draining(bench: Bench) -> None:
    """Those who wait are answered, those behind them are told why, and nothing more is read."""
    line = bench.connect()
    line.send("PULL", queue="q", reqId="r")
    line.send("PULL", queue="q")
    line.send("PULLB", queue="q", count=1)
    bench.context.close()
    line.connection.drain()
    answers = line.answers()
    assert answers[0] == {"ok": True, "job": None, "reqId": "r"}
    assert answers[1] == {"ok": True, "job": None}
    assert answers[2]["code"] == "shutting_down"
    line.feed(b'{"cmd":"PING"}\n')
    assert line.answers() == []
    assert line.transport.eof


async def test_no_room_for_another_connection(bench: Bench) -> None:
    """One line says why, and it is closed."""
    bench.room = 1
    bench.connect()
    line = bench.connect()
    assert line.answers() == [{"ok": False, "error": "Too many connections", "code": "overloaded"}]
    assert line.transport.eof
    line.feed(b'{"cmd":"PING"}\n')
    assert line.answers() == []


async def test_a_lost_connection_is_forgotten(bench: Bench) -> None:
    """Nothing of it stays: no place in a queue's line, no subscription, no door."""
    line = bench.connect()
    line.send("SUBSCRIBE", queue="*", events=[])
    line.send("PULL", queue="q")
    line.send("PULL", queue="q", reqId="r")
    assert len(bench.engine.parking) == 2
    line.lose()
    assert len(bench.engine.parking) == 0
    assert "q" not in bench.engine.queues.by_name
    assert not bench.engine.outbox.watched
    assert bench.turns.doors == {}


# --- events ---


async def test_a_slow_listener_is_told_how_much_it_missed(bench: Bench) -> None:
    """Events beyond the backlog are dropped and counted; the count comes before the next event."""
    listener, other = bench.connect(), bench.connect()
    listener.send("SUBSCRIBE", queue="q", events=["pushed"])
    listener.transport.unread = tcp.MAX_EVENT_BACKLOG_BYTES + 1
    push(other)
    push(other)
    assert listener.answers() == []
    listener.transport.unread = 0
    push(other)
    lagged, event = listener.answers()
    assert lagged == {"lagged": 2}
    assert event["event"]["job_id"] == 3


async def test_a_listener_that_was_stopped_is_told_when_it_reads_again(bench: Bench) -> None:
    """The count does not wait for another event."""
    listener, other = bench.connect(), bench.connect()
    listener.send("SUBSCRIBE", queue="q", events=["pushed"])
    listener.transport.stalled = True
    listener.transport.write(b"0" * tcp.WRITE_HIGH_BYTES + b"\n")
    listener._read = len(listener.transport.written)
    push(other)
    listener.transport.drained()
    assert listener.answers() == [{"lagged": 1}]


async def test_no_event_comes_before_the_answer_to_subscribe(lazy: Bench) -> None:
    """The answer waits for the disk, and an event of something older is told meanwhile: the answer is first."""
    line = lazy.connect()
    line.send("PUSH", queue="q", data=1)
    line.send("SUBSCRIBE", queue="q", events=[])
    line.connection.tell([Told(1, Event("pushed", "q", 1, 1))])
    assert line.answers() == []
    lazy.turns.sync()
    told = {"event_type": "pushed", "queue": "q", "job_id": 1, "timestamp": 1}
    assert line.answers() == [{"ok": True, "id": 1}, OK, {"event": told}]
    line.send("PUSH", queue="q", data=1, reqId="r")
    line.connection.tell([Told(1, Event("pushed", "q", 1, 1))])
    line.connection.refuse(StorageError("The disk failed"))
    refused, *events = line.answers()
    assert refused["reqId"] == "r"
    assert [event["event"]["event_type"] for event in events] == ["pushed", "pushed"]


# --- tokens ---


@pytest.fixture
async def guarded() -> AsyncIterator[Bench]:
    """A server that asks for a token."""
    bench = Bench(tokens=("right",))
    yield bench
    _cancel_timers(bench)


async def test_time_for_the_token_is_bounded(guarded: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shows none in time is told so and closed; who did is left in peace."""
    monkeypatch.setattr(tcp, "AUTH_SECONDS", 0.01)
    slow, quick = guarded.connect(), guarded.connect()
    quick.send("AUTH", token="right")
    while not slow.transport.eof:
        await asyncio.sleep(0)
    assert slow.answers() == [{"ok": False, "error": "Authentication required", "code": "unauthorized"}]
    assert not quick.transport.eof
    assert quick.connection._timer is None


async def test_nothing_behind_the_last_try_is_carried_out(guarded: Bench) -> None:
    """The right token in fourth place opens nothing."""
    line = guarded.connect()
    tries = b"".join(b'{"cmd":"AUTH","token":"%d"}\n' % n for n in range(3))
    line.feed(tries + b'{"cmd":"AUTH","token":"right"}\n{"cmd":"PUSH","queue":"q","data":1}\n')
    assert [answer["code"] for answer in line.answers()] == ["unauthorized"] * 3
    assert line.transport.eof
    assert guarded.engine.lookup.stats().queued == 0


async def test_bytes_before_the_token_are_bounded(guarded: Bench) -> None:
    """In whole lines or in part of one, counted together."""
    line = guarded.connect()
    line.send("AUTH", token="x" * 3_000)
    line.feed(b"y" * 900)
    assert not line.transport.eof
    line.feed(b"y" * 300)
    assert line.transport.eof
    assert line.answers()[-1]["error"] == "Authentication required"


async def test_empty_lines_before_the_token_are_bounded(guarded: Bench) -> None:
    """They weigh something, too, and who has said too much is not heard to the end."""
    line = guarded.connect()
    line.feed(b"\n" * 100_000)
    assert line.transport.eof
    assert len(line.answers()) == TURN_LINES + 1
    guarded.turns.next_turn()
    assert line.answers() == []


async def test_bytes_behind_the_token_are_not(guarded: Bench) -> None:
    """A token and a large command in one piece are fine."""
    line = guarded.connect()
    line.feed(b'{"cmd":"AUTH","token":"right"}\n{"cmd":"PING","more":"%b"}\n' % (b"x" * 100_000))
    assert line.answers() == [OK, OK]
    line.feed(b"z" * 100_000)
    assert not line.transport.eof


async def test_who_is_no_longer_welcome_is_let_go(guarded: Bench) -> None:
    """What waits is answered, the reason is told, and nothing more is taken; others stay."""
    gone, stays = guarded.connect(), guarded.connect()
    for line in (gone, stays):
        line.send("AUTH", token="right")
    gone.send("PULL", queue="q")
    identity = gone.connection._session.identity
    assert identity is not None
    gone.connection._session.identity = Identity("gone", revoked=True)
    for line in (gone, stays):
        line.connection.leave_if_revoked()
    refusal = {"ok": False, "error": "Token revoked", "code": "unauthorized"}
    assert gone.answers() == [{"ok": True, "job": None}, refusal]
    assert gone.transport.eof
    assert gone.send("PUSH", queue="q", data=1) == []
    assert stays.send("PING") == [OK]
    assert not stays.transport.eof


async def test_tries_that_are_slowed_down_are_tries(guarded: Bench) -> None:
    """A connection has three, also when its address is not looked at any more."""
    told: list[str] = []
    for _ in range(4):
        line = guarded.connect()
        for n in range(5):
            told += [answer["code"] for answer in line.send("AUTH", token=str(n))]
        assert line.transport.eof
    assert told == ["unauthorized"] * 10 + ["overloaded"] * 2


class Oracle:
    """Answers questions about the past when the test says so."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._asked: list[tuple[Hashable, Question]] = []
        bench.context.archive = self

    def ask(self, token: Hashable, question: Question, now: Instant) -> None:
        """Park it."""
        self._bench.engine.parking.park(Call(token=token, leave=lambda: None), None, now)
        self._asked.append((token, question))

    def speak(self) -> None:
        """Answer the oldest question."""
        token, question = self._asked.pop(0)
        self._bench.engine.parking.forget(self._bench.engine.parking.calls[token])
        self._bench.engine.outbox.deliver(token, question)
        self._bench.turns.hand_over(self._bench.turns.now)


@pytest.fixture
def oracle(bench: Bench) -> Oracle:
    """Of the bench."""
    return Oracle(bench)


NO_HISTORY = {"ok": True, "id": 1, "history": [], "truncated": False}


async def test_what_comes_behind_a_question_waits_for_its_answer(bench: Bench, oracle: Oracle) -> None:
    """It is not carried out before, and not read either; the answers come in their order."""
    line = bench.connect()
    line.feed(b'{"cmd":"HISTORY","id":1}\n{"cmd":"PUSH","queue":"q","data":1}\n{"cmd":"HISTORY","id":1}\n')
    assert (line.answers(), line.transport.reading, bench.engine.jobs.next_id) == ([], False, 1)
    oracle.speak()
    assert line.answers() == [NO_HISTORY]
    bench.turns.next_turn()
    assert line.answers() == [{"ok": True, "id": 1}]
    assert not line.transport.reading
    oracle.speak()
    bench.turns.next_turn()
    assert line.answers() == [NO_HISTORY]
    assert line.transport.reading


async def test_a_question_with_a_mark_keeps_nobody_waiting(bench: Bench, oracle: Oracle) -> None:
    """Its answer comes when it comes."""
    line = bench.connect()
    assert line.send("HISTORY", id=1, reqId="h") == []
    assert line.send("PING") == [OK]
    oracle.speak()
    assert line.answers() == [{**NO_HISTORY, "reqId": "h"}]


@pytest.mark.parametrize("mark", [{}, {"reqId": "h"}])
async def test_a_client_that_sends_no_more_is_answered_about_the_past(
    bench: Bench, oracle: Oracle, mark: dict[str, str]
) -> None:
    """Its end of stream ends what waits for others, not what is on its way; then the connection closes."""
    line = bench.connect()
    line.send("HISTORY", id=1, **mark)
    line.connection.eof_received()
    assert (line.answers(), line.transport.closed) == ([], False)
    oracle.speak()
    bench.turns.next_turn()
    assert line.answers() == [{**NO_HISTORY, **mark}]
    assert line.transport.closed


async def test_a_draining_server_refuses_questions(bench: Bench, oracle: Oracle) -> None:
    """What cannot be answered any more is not answered with nothing."""
    line = bench.connect()
    line.send("HISTORY", id=1)
    line.connection.drain()
    assert [answer["code"] for answer in line.answers()] == ["shutting_down"]
    assert oracle._asked
