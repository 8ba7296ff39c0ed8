"""What those who have left leave behind in a server: nothing.

No sum that has a bound may count what is not there any more. And nothing may be left to the cyclic garbage collector: a
server has it come rarely, since there is little to find among millions of jobs (see `GC_THRESHOLDS`), so what lives for
minutes before it is let go would wait for hours then.
"""

import gc
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.fakes.event_source import EventSource
from tests.fakes.http_client import HttpClient
from tests.fakes.postgres import Databases
from tests.fakes.server_process import LineClient, ServerProcess
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flashq.config import Config
from flashq.server.httpdoor import HttpDoor
from flashq.storage.sqlite import SqliteStorage
from flashq.testing.serving import RunningServer

ROUNDS = 3
SECONDS = 20
HALF = b"x" * 100_000
"""Of something that will not be finished."""

BATCH = 1_000
PAYLOAD_BYTES = 1_000
WARM_UP_BATCHES = 150
"""More than the journal may hold before it is folded under load; see `UNFOLDED_BYTES`."""
BATCHES = 400


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """With everything that has to do with what was."""
    with RunningServer(Config(port=0, http_port=0, data_dir=str(tmp_path), audit=True)) as running:
        yield running


def over_lines(port: int) -> None:
    """Jobs' lives, refusals, waits that end in each way, and a listener."""
    with LineClient(("127.0.0.1", port)) as client, LineClient(("127.0.0.1", port)) as other:
        client.ok("SUBSCRIBE", queue="watched")
        for number in range(20):
            other.ok("PUSH", queue="watched", data=number)
        other.ok("PUSHB", queue="many", jobs=[{"data": n, "max_attempts": 1} for n in range(BATCH)])
        jobs = other.ok("PULLB", queue="many", count=950)["jobs"]
        other.ok("ACKB", ids=[job["id"] for job in jobs[:900]], tokens=[job["token"] for job in jobs[:900]])
        for job in jobs[900:]:
            other.ok("PROGRESS", id=job["id"], progress=50, message="half")
            other.ok("FAIL", id=job["id"], token=job["token"], error="broken")
        first = other.ok("PUSH", queue="family", data=1)["id"]
        other.ok("PUSH", queue="family", data=2, depends_on=[first], collect=True)
        for _ in range(2):
            job = other.ok("PULL", queue="family", timeout=5_000)["job"]
            other.ok("ACK", id=job["id"], token=job["token"], result={"n": 1})
        late = other.ok("PUSH", queue="late", data=1, delay=60_000)["id"]
        other.ok("CANCEL", id=late)
        other.ok("HISTORY", id=first)
        other.ok("EXPLAIN", id=first)
        other.refused("ACK", id=10**9)
        other.refused("NONE")
        other.ask_raw(b"no JSON")
        other.ok("PULL", queue="empty", timeout=1)
        other.send("PULL", queue="empty", timeout=60_000)
    with LineClient(("127.0.0.1", port)) as client:
        client.ok("PURGEDLQ", queue="many")
        for queue in ("watched", "many"):
            finish(client, queue)
        client.ok("PUSH", queue="watched", data=1)
        client.ok("ACK", id=client.ok("PULL", queue="watched")["job"]["id"])
        client.send_raw(b'{"cmd":"PUSH","data":"' + HALF)
        client.vanish()


def over_http(port: int) -> None:
    """Answers at once and later, listeners of both kinds, and clients that leave in the middle."""
    with HttpClient(port) as client:
        for number in range(10):
            assert client.ask("POST", "/queues/web/jobs", {"data": number}).status == 200
        for path in ("/health", "/metrics/prometheus", "/queues", "/openapi.json", "/none"):
            client.ask("GET", path)
        assert client.ask("GET", "/events?types=none").status == 400
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{port}/ws?types=none", proxy=None)
        with EventSource(port, "/events") as listener:
            client.ask("POST", "/queues/web/jobs", {"data": "told"})
            listener.next()
            client.ask("POST", "/queues/web/jobs", {"data": "not read"})
        with connect(f"ws://127.0.0.1:{port}/ws", proxy=None) as socket:
            client.ask("POST", "/queues/web/jobs", {"data": "told"})
            socket.recv(20)
        for number in range(5):
            assert client.ask("POST", "/jobs/1000000/ack", {}).status == 404
            assert client.ask("POST", "/queues/web/jobs", b"no JSON").status == 400
            held = {"cmd": "PUSH", "queue": "web", "data": number, "unique_key": f"key {number}"}
            refused = {"cmd": "ACK", "id": 10**6}  # waits for the disk with the others
            client.ask("POST", "/commands", b"\n".join(json.dumps(one).encode() for one in (held, held, refused)))
        client.ask("POST", "/commands", {"cmd": "PULL", "queue": "empty", "timeout": 1})
        rest = {"cmd": "PULLB", "queue": "web", "count": BATCH, "timeout": 0}
        while jobs := client.ask("POST", "/commands", rest).json["jobs"]:
            client.ask("POST", "/commands", {"cmd": "ACKB", "ids": [job["id"] for job in jobs]})
        client.send("POST", "/commands", {"cmd": "PULL", "queue": "empty", "timeout": 60_000})
    with LineClient(("127.0.0.1", port)) as client:
        client.send_raw(b"POST /commands HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + HALF)


def quiet(server: RunningServer) -> bool:
    """Everybody has left, and everything is in the tables."""
    storage = server._server._storage
    assert isinstance(storage, SqliteStorage)
    return not any(door.connected for door in server._server._doors) and storage._windows.folded


def a_day(server: RunningServer) -> None:
    """Something of everything, until nothing is left of it."""
    for _ in range(ROUNDS):
        over_lines(server.port)
        over_http(server._server.http_port)
    deadline = time.monotonic() + SECONDS
    while not quiet(server):
        assert time.monotonic() < deadline, "the server has come to rest"
        time.sleep(0.01)


def test_who_has_left_is_not_counted(server: RunningServer) -> None:
    """Every sum over those who are there is what it was before they came."""
    a_day(server)
    deadline = time.monotonic() + SECONDS
    while any(counted(server).values()):  # a connection is gone a few turns before what was done for it is taken back
        assert time.monotonic() < deadline, counted(server)
        time.sleep(0.01)


def counted(server: RunningServer) -> dict[str, int]:
    """Every sum over those who are there."""
    running = server._server
    context, door = running._context, running._doors[-1]
    assert isinstance(door, HttpDoor)
    return {
        "bytes of unfinished commands": context.unfinished,
        "calls that wait": len(context.engine.parking),
        "calls that wait, by door": len(door._calls._parked),
        "answers that wait for the disk": len(door._calls._held),
        "subscriptions": running._runtime.hub._count,
        "listeners": len(door._streams),
        "bytes that wait for listeners": door._streams.total.bytes,
        "connections that wait for the disk": len(running._runtime._gated),
    }


def test_a_server_leaves_nothing_to_the_collector(server: RunningServer) -> None:
    """Nothing of ours is part of a cycle when it is let go."""
    a_day(server)  # what is made once stays
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        a_day(server)
        gc.collect()
        left = Counter(type(thing).__qualname__ for thing in gc.garbage if type(thing).__module__.startswith("flashq"))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "postgres"])
def test_jobs_that_are_done_leave_no_memory(storage: str, tmp_path: Path, databases: Databases) -> None:
    """However many have gone through, a server holds what is there and a window of its journal."""
    with ExitStack() as held:
        url = held.enter_context(databases.fresh()) if storage == "postgres" else None
        server = held.enter_context(ServerProcess(tmp_path, url=url))
        client = held.enter_context(server.client())
        through(client, WARM_UP_BATCHES)
        before = server.resident_bytes()
        through(client, BATCHES)
        assert server.resident_bytes() - before < BATCHES * BATCH * PAYLOAD_BYTES / 4


def through(client: LineClient, batches: int) -> None:
    """Batches of jobs, each done before the next comes."""
    jobs = [{"data": "x" * PAYLOAD_BYTES}] * BATCH
    for _ in range(batches):
        client.ok("PUSHB", queue="flow", jobs=jobs)
        finish(client, "flow")


def finish(client: LineClient, queue: str) -> None:
    """Do all that waits in a queue."""
    while jobs := client.ok("PULLB", queue=queue, count=BATCH, timeout=0)["jobs"]:
        client.ok("ACKB", ids=[job["id"] for job in jobs], tokens=[job["token"] for job in jobs])
