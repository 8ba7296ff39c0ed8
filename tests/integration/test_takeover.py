"""A server on PostgreSQL is frozen for longer than its lease, and wakes up when another one has taken over."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.fakes.http_client import HttpClient
from tests.fakes.postgres import Databases
from tests.fakes.server_process import Answer, ServerProcess

EXIT_STORAGE = 74
LATE_MS = 3_000
"""Well within the time for which a server is frozen here, which is what a lease holds (see `TTL_MS`), less a second."""

CLIENTS = 20
"""Of each kind. Which of them are heard before the server learns of its replacement is chance."""


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """An empty database."""
    with databases.fresh() as url:
        yield url


def said_over_http(client: HttpClient) -> list[Answer]:
    """What came as an answer to one request, or nothing."""
    try:
        return [json.loads(client.receive().body)]
    except (OSError, EOFError, ValueError):
        return []


@pytest.mark.slow
def test_a_frozen_server_that_was_replaced_shows_and_hands_out_nothing(tmp_path: Path, url: str) -> None:
    """It was asked while it was frozen: for a job that has gone on since, for one to do, and for one that fell due."""
    with ExitStack() as opened, ServerProcess(tmp_path / "old", url=url) as old:
        with old.client() as client:
            id = client.ok("PUSH", queue="q", data=1)["id"]
            client.ok("PUSHB", queue="more", jobs=[{"data": number} for number in range(CLIENTS)])
        lines = [opened.enter_context(old.client()) for _ in range(3 * CLIENTS)]
        web = [opened.enter_context(HttpClient(old.http_port)).connect() for _ in range(2 * CLIENTS)]
        for waiting in lines[2 * CLIENTS :]:
            waiting.send("PULL", queue="late")
        # The last thing before it is frozen: they fall due while it is, and not before.
        late = [{"data": number, "delay": LATE_MS} for number in range(CLIENTS)]
        lines[0].ok("PUSHB", queue="late", jobs=late)
        old.signal(signal.SIGSTOP)
        assert all(waiting.silent(0) for waiting in lines[2 * CLIENTS :])
        for reader, puller in zip(lines[:CLIENTS], lines[CLIENTS : 2 * CLIENTS], strict=True):
            reader.send("GETJOB", id=id)
            puller.send("PULL", queue="more")
        for reader, puller in zip(web[:CLIENTS], web[CLIENTS:], strict=True):
            reader.send("GET", f"/jobs/{id}")
            puller.send("GET", "/queues/more/jobs?timeout=0")
        with ServerProcess(tmp_path / "new", url=url) as new, new.client() as client:
            job = client.ok("PULL", queue="q")["job"]
            assert job["id"] == id
            client.ok("ACK", id=id, token=job["token"])
            taken = client.ok("PULLB", queue="more", count=CLIENTS)["jobs"]
            assert len(taken) == CLIENTS
            old.signal(signal.SIGCONT)
            answers = [answer for waiting in lines for answer in waiting.rest()]
            answers += [answer for asking in web for answer in said_over_http(asking)]
            assert [answer for answer in answers if answer["ok"]] == []
            assert old.wait() == EXIT_STORAGE
            assert "another FlashQ server has taken over" in old.errors()
            assert client.ok("PUSH", queue="q", data=2)["id"] > id
