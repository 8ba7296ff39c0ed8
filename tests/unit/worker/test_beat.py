"""Unit tests of `flashq.worker.beat`."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import SimpleNamespace

import pytest
from tests.fakes.line_server import HANG_UP, OK, SILENCE, LineServer, Request, line
from tests.unit.worker.jobs import SOON

from flashq import FlashQ
from flashq.model import EndedAttempt
from flashq.worker import beat as module
from flashq.worker.beat import BEAT_MS, MAX_MISSES, PROMPT_MS, Beat

UNKNOWN = line(ok=False, error="Worker not found", code="not_found")


class Heard:
    """What a beat reports, from its thread."""

    def __init__(self) -> None:
        self.ended: SimpleQueue[list[EndedAttempt]] = SimpleQueue()
        self.unknown: SimpleQueue[None] = SimpleQueue()


@contextmanager
def beating(answer: Callable[[Request], bytes | None]) -> Iterator[tuple[Heard, LineServer, Beat]]:
    """A beat and the server that it reaches."""
    heard = Heard()
    with LineServer(answer) as server:
        beat = Beat(FlashQ(server.url), "w", heard.ended.put, lambda: heard.unknown.put(None))
        beat.start()
        yield heard, server, beat
        beat.stop()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a pause."""
    monkeypatch.setattr(module, "RETRY_MS", 5)


def test_ended_attempts_are_reported_at_once() -> None:
    """What the server ended comes by its answer, and the next beat is parked without a pause."""
    answers = [line(ok=True, ended=[{"id": 7, "token": "t", "reason": "cancelled"}])]
    with beating(lambda _: answers.pop() if answers else SILENCE) as (heard, server, _):
        assert heard.ended.get(timeout=SOON) == [EndedAttempt(7, "t", "cancelled")]
        assert [server.next_request() for _ in range(2)] == [{"cmd": "BEAT", "worker": "w", "wait": BEAT_MS}] * 2


def test_a_server_that_does_not_park_is_not_flooded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes at once and says nothing is followed by a pause; one that was parked is not."""
    monkeypatch.setattr(module, "RETRY_MS", 60_000)
    # A clock of our own: on a busy machine an answer that comes at once may need as long as one that was parked.
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    first = iter([True])  # the server may ask before the test knows it

    def answer(_: Request) -> bytes:
        if next(first, False):
            now[0] += 2 * PROMPT_MS / 1_000
        return OK

    with beating(answer) as (_, server, _):
        server.next_request()
        server.next_request()
        with pytest.raises(Empty):
            server.next_request(0.1)


def test_unknown_only_when_it_was_said_twice() -> None:
    """After a restart of the server the first beat may come before the hello; a second in a row means it."""
    answers = [UNKNOWN, line(ok=True, ended=[{"id": 1, "token": "t", "reason": "x"}]), UNKNOWN, UNKNOWN]
    answers.reverse()
    with beating(lambda _: answers.pop() if answers else SILENCE) as (heard, server, _):
        heard.unknown.get(timeout=SOON)
        assert len(server.requests) in (4, 5)
        assert heard.unknown.empty()
    assert MAX_MISSES == 2


def test_a_lost_server_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The heart goes on until it reaches the server again; the log says both once."""
    answers = [*[HANG_UP] * 5, line(ok=True, ended=[{"id": 1, "token": "t", "reason": "x"}])]  # four are the client's
    answers.reverse()
    caplog.set_level(logging.INFO, "flashq.worker")
    with beating(lambda _: answers.pop() if answers else SILENCE) as (heard, _, _):
        heard.ended.get(timeout=SOON)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_fault_does_not_stop_the_heart(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose heartbeat died of a bug would be taken for dead while it works."""
    broken = [RuntimeError("a bug")]
    real = FlashQ.beat

    def beat(self: FlashQ, worker: str, *, wait: int | None = None) -> list[EndedAttempt]:
        if broken:
            raise broken.pop()
        return real(self, worker, wait=wait)

    monkeypatch.setattr(FlashQ, "beat", beat)
    with beating(lambda _: SILENCE) as (_, server, _):
        assert server.next_request()["cmd"] == "BEAT"
    assert "a fault of the worker" in caplog.text


def test_a_stop_does_not_wait_for_the_parked_beat() -> None:
    """The thread ends although the server never answers."""
    with beating(lambda _: SILENCE) as (_, server, beat):
        server.next_request()
        beat.stop()
        assert not beat._thread.is_alive()


def test_a_stop_before_the_start() -> None:
    """A worker that was stopped while it said hello has no heartbeat to end."""
    with LineServer() as server:
        Beat(FlashQ(server.url), "w", lambda _: None, lambda: None).stop()
        assert server.requests == []
