"""Who did what, on real servers that were asked to keep it: every door, both storages, and over restarts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import MEMORY, LineClient, ServerProcess

from flashq import FlashQ
from flashq.cli.program import program

KEEP = {"AUDIT": "1"}
_numbers = count(1)


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server of each storage that keeps the history."""
    url = MEMORY if request.param == "memory" else None
    with ServerProcess(tmp_path_factory.mktemp("audit"), url=url, environment=KEEP, unix=True) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[LineClient]:
    """A connection over TCP."""
    client = server.client()
    yield client
    client.close()


@pytest.fixture
def queue() -> str:
    """A queue that nobody else uses."""
    return f"queue-{next(_numbers)}"


def events(client: LineClient, id: int) -> list[str]:
    """What happened to a job."""
    return [entry["event"] for entry in client.ok("HISTORY", id=id)["history"]]


def pulled(client: LineClient, queue: str) -> dict[str, Any]:
    """The next job, which must be there."""
    job: dict[str, Any] = client.ok("PULL", queue=queue, timeout=0)["job"]
    return job


def test_a_jobs_life_is_told_whole(client: LineClient, queue: str) -> None:
    """Each attempt, who had it and how it ended, up to the dead letters and back."""
    client.ok("HELLO", worker=f"worker-{queue}")
    id = client.ok("PUSH", queue=queue, data=1, max_attempts=2, backoff=0)["id"]
    for error in ("first", "second"):
        client.ok("FAIL", id=id, token=pulled(client, queue)["token"], error=error)
    assert client.ok("RETRYDLQ", queue=queue)["ids"] == [1]
    client.ok("RELEASE", id=id, token=pulled(client, queue)["token"])
    client.ok("ACK", id=id, token=pulled(client, queue)["token"])
    history = client.ok("HISTORY", id=id)["history"]
    assert [(entry["event"], entry["attempt"], entry["detail"]) for entry in history] == [
        ("pushed", 0, None),
        ("active", 1, None),
        ("failed", 1, "first"),
        ("retrying", 0, None),
        ("active", 2, None),
        ("failed", 2, "second"),
        ("dead", 0, "second"),
        ("retried", 0, None),
        ("active", 1, None),
        ("released", 1, None),
        ("active", 1, None),
        ("completed", 1, None),
    ]
    assert {entry["worker"] for entry in history if entry["attempt"]} == {f"worker-{queue}"}
    assert {(entry["by"], entry["peer"], entry["door"]) for entry in history} == {("anonymous", "127.0.0.1", "lines")}
    assert all(one["at"] <= other["at"] for one, other in pairwise(history))


def test_a_batch_is_told_job_by_job(client: LineClient, queue: str) -> None:
    """Though it is kept as one."""
    ids = client.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(50)])["ids"]
    jobs = client.ok("PULLB", queue=queue, count=50)["jobs"]
    client.ok("ACKB", ids=ids[10:20], tokens=[job["token"] for job in jobs[10:20]])
    assert [events(client, id) for id in (ids[0], ids[10], ids[19], ids[20])] == [
        ["pushed", "active"],
        ["pushed", "active", "completed"],
        ["pushed", "active", "completed"],
        ["pushed", "active"],
    ]


def test_every_door_tells_the_same(server: ServerProcess, client: LineClient, queue: str) -> None:
    """Who came through another door is told with that door."""
    unix = server.unix_client()
    id = unix.ok("PUSH", queue=queue, data=1)["id"]
    unix.close()
    with HttpClient(server.http_port) as web:
        web.data("POST", f"/jobs/{id}/cancel")
        told = web.data("GET", f"/jobs/{id}/history")
    assert told == client.ok("HISTORY", id=id)
    assert [(entry["event"], entry["peer"], entry["door"]) for entry in told["history"]] == [
        ("pushed", "unix", "lines"),
        ("cancelled", "127.0.0.1", "http"),
    ]


def test_operators_leave_a_trace(server: ServerProcess, client: LineClient, queue: str) -> None:
    """What they did, newest first, page by page, over lines and HTTP."""
    client.ok("PAUSE", queue=queue)
    client.ok("RATELIMIT", queue=queue, limit=7)
    client.ok("RESUME", queue=queue)
    page = client.ok("AUDITLOG", limit=2)
    assert [(each["action"], each["target"], each["detail"]) for each in page["audit"]] == [
        ("RESUME", queue, None),
        ("RATELIMIT", queue, '{"limit":7}'),
    ]
    with HttpClient(server.http_port) as web:
        more = web.data("GET", f"/audit?cursor={page['cursor']}&limit=1")
    assert [(each["action"], each["target"]) for each in more["audit"]] == [("PAUSE", queue)]
    assert client.ok("AUDITLOG", limit=1_000)["audit"][-1]["action"] == "START"


def test_clients_and_command_line(server: ServerProcess, queue: str) -> None:
    """The same as values and as tables."""
    with FlashQ(port=server.port) as q:
        id = q.push(queue, 1)
        q.pause(queue)
        assert [entry.event for entry in q.history(id)] == ["pushed"]
        assert q.audit_log(limit=1).actions[0].target == queue
    url = f"flashq://127.0.0.1:{server.port}"

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(program, ["--url", url, *words], prog_name="flashq")
        assert result.exit_code == code, result.output
        return result.output

    assert "pushed" in run("history", str(id))
    assert json.loads(run("--json", "history", str(id)))[0]["event"] == "pushed"
    assert "nothing is known of the history of job 999999" in run("history", "999999", code=4)
    assert queue in run("audit", "--limit", "1")
    assert json.loads(run("--json", "audit", "--since", "0"))[0]["target"] == queue


@contextmanager
def connected(server: ServerProcess) -> Iterator[LineClient]:
    """A connection for a few questions."""
    client = server.client()
    try:
        yield client
    finally:
        client.close()


def test_a_history_goes_on_over_restarts(tmp_path: Path) -> None:
    """What a client was told is there after a kill, in the journal or folded; what was active is restored."""
    with ServerProcess(tmp_path, environment=KEEP) as server:
        with connected(server) as client:
            id = client.ok("PUSH", queue="q", data=1)["id"]
            token = pulled(client, "q")["token"]
        server.restart()
        with connected(server) as client:
            assert events(client, id) == ["pushed", "active", "restored"]
        server.stop()
        server.start()
        with connected(server) as client:
            assert events(client, id) == ["pushed", "active", "restored"]
            job = pulled(client, "q")
            assert client.refused("ACK", id=id, token=token)[0] == "stale_attempt"
            client.ok("ACK", id=id, token=job["token"])
        server.restart()
        with connected(server) as client:
            assert events(client, id) == ["pushed", "active", "restored", "active", "completed"]
            assert [each["action"] for each in client.ok("AUDITLOG")["audit"]] == ["START"] * 4


def test_a_history_outlives_its_job(tmp_path: Path) -> None:
    """And the setting: entries are folded, and told again, when the history is kept again."""
    with ServerProcess(tmp_path, environment=KEEP) as server:
        with connected(server) as client:
            id = client.ok("PUSH", queue="q", data=1)["id"]
            client.ok("CANCEL", id=id)
        server.stop()
        del server.environment["AUDIT"]
        server.start()
        with connected(server) as client:
            assert client.refused("HISTORY", id=id)[0] == "bad_request"
        server.stop()
        server.environment["AUDIT"] = "1"
        server.start()
        with connected(server) as client:
            assert events(client, id) == ["pushed", "cancelled"]


def test_tokens_have_names(tmp_path: Path) -> None:
    """By is who the token says."""
    environment = KEEP | {"AUTH_TOKENS": "first-token-of-two,second-token-of-two"}
    with ServerProcess(tmp_path, url=MEMORY, environment=environment) as server, connected(server) as client:
        client.ok("AUTH", token="second-token-of-two")
        id = client.ok("PUSH", queue="q", data=1)["id"]
        (entry,) = client.ok("HISTORY", id=id)["history"]
        assert entry["by"] == "auth-token-2"
