"""What stands between those who push and those who work."""

import json
import shutil
import socket

import pytest
from benchmarks.versus import brokers
from benchmarks.versus.brokers import REDIS, FlashQBroker, RedisBroker, find_redis, free_port


def test_a_free_port_can_be_listened_on() -> None:
    """The port that a Redis is told is nobody else's."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", free_port()))


def test_without_redis_and_without_the_right_to_install_it_there_is_none(monkeypatch) -> None:
    """The comparison then says so, and does not try what it may not do."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(brokers.os, "geteuid", lambda: 1000)
    assert find_redis() is None


@pytest.mark.skipif(shutil.which(REDIS) is None, reason="there is no redis-server here")
def test_a_redis_keeps_what_it_promises() -> None:
    """Its append-only file is on, and synced as the table says."""
    with RedisBroker("full") as broker:
        port = int(broker.url.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"CONFIG GET append*\r\n")
            said = connection.recv(4096)
    assert b"appendfsync\r\n$6\r\nalways" in said
    assert b"appendonly\r\n$3\r\nyes" in said


@pytest.mark.parametrize("left", [{"queued": 1}, {"dlq": 1}, {"completed": 4}])
def test_lost_or_failed_jobs_fail_the_round(monkeypatch, left: dict[str, int]) -> None:
    """A fast worker that did not do all of it is not fast."""
    counts = {"completed": 5, "queued": 0, "dlq": 0}
    broker = FlashQBroker("memory", pinned=False)
    monkeypatch.setattr(broker._server, "ask", lambda _: json.dumps(counts).encode())
    broker.check(5)
    monkeypatch.setattr(broker._server, "ask", lambda _: json.dumps(counts | left).encode())
    with pytest.raises(RuntimeError, match="5 jobs should be completed"):
        broker.check(5)
    broker.__exit__(None, None, None)
