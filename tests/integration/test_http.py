"""The HTTP door of a real server over real sockets: every route, what surrounds them, and what is refused."""

import ast
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import MEMORY, ServerProcess

from flashq import __version__
from flashq.transports.http.routes import ROUTES

TOKEN = "a token that nobody guesses"

_addresses = count(1)
_numbers = count(1)


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server of each storage for all tests that leave it standing."""
    url = MEMORY if request.param == "memory" else None
    with ServerProcess(tmp_path_factory.mktemp("http"), url=url) as running:
        yield running


@pytest.fixture
def web(server: ServerProcess) -> Iterator[HttpClient]:
    """A connection."""
    with HttpClient(server.http_port) as client:
        yield client


@pytest.fixture
def queue() -> str:
    """A queue that nobody else uses."""
    return f"queue-{next(_numbers)}"


def test_a_jobs_life(web: HttpClient, queue: str) -> None:
    """Pushed, pulled, reported on, acknowledged, looked at."""
    pushed = web.ok("POST", f"/queues/{queue}/jobs", {"data": {"n": 1}, "priority": 2, "tags": ["a"]})
    job = pushed["data"]
    assert pushed["id"] == job["id"]
    assert (job["queue"], job["data"], job["priority"], job["tags"]) == (queue, {"n": 1}, 2, ["a"])
    path = f"/jobs/{job['id']}"
    assert web.data("GET", f"{path}/state") == "waiting"
    pulled = web.ok("GET", f"/queues/{queue}/jobs")
    assert pulled["data"] == [pulled["job"]]
    assert pulled["job"]["id"] == job["id"]
    token = pulled["job"]["token"]
    assert web.data("POST", f"{path}/progress", {"progress": 40, "message": "half", "token": token}) is None
    assert web.data("GET", f"{path}/progress") == {"progress": 40, "message": "half"}
    assert web.data("POST", f"{path}/heartbeat", {"token": token}) is None
    assert web.data("POST", f"{path}/ack", {"result": [1], "token": token}) is None
    assert web.ok("POST", f"{path}/ack", {"token": token}) == {"data": None, "already": True}
    assert web.data("GET", f"{path}/result") == [1]
    whole = web.data("GET", path)
    assert (whole["id"], whole["state"], whole["result"]) == (job["id"], "completed", [1])
    assert set(job) < set(whole)


def test_payloads_are_kept_as_they_came(web: HttpClient, queue: str) -> None:
    """No number is rounded and no blank is lost, but for the ends of lines."""
    web.ok("POST", f"/queues/{queue}/jobs", b'{"data": [1.10,  1e3, 12345678901234567890]}')
    assert b'"data":[1.10,  1e3, 12345678901234567890]' in web.ask("GET", f"/queues/{queue}/jobs").body


def test_a_batch(web: HttpClient, queue: str) -> None:
    """Ids aligned with the jobs, duplicates named, acknowledged together."""
    jobs = [{"data": 1, "unique_key": "k"}, {"data": 2}, {"data": 3, "unique_key": "k"}]
    pushed = web.data("POST", f"/queues/{queue}/jobs/batch", {"jobs": jobs})
    assert pushed["ids"][0] == pushed["ids"][2]
    assert pushed["duplicates"] == [2]
    pulled = web.data("POST", f"/queues/{queue}/pull", {"count": 10})
    assert [job["data"] for job in pulled] == [1, 2]
    ids, tokens = [job["id"] for job in pulled], [job["token"] for job in pulled]
    wrong = web.ok("POST", "/jobs/ack-batch", {"ids": ids[:1], "tokens": ["1.1.x"]})
    assert wrong == {"data": 0, "stale": ids[:1]}
    assert web.ok("POST", "/jobs/ack-batch", {"ids": ids, "tokens": tokens}) == {"data": 2, "stale": []}


def test_a_repeated_push(web: HttpClient, queue: str) -> None:
    """The same ``job_id`` is the same job, and the answer says so."""
    body = {"data": 1, "job_id": f"order-{queue}"}
    first = web.ok("POST", f"/queues/{queue}/jobs", body)
    second = web.ok("POST", f"/queues/{queue}/jobs", body)
    assert (second["id"], second["replayed"]) == (first["id"], True)
    assert "replayed" not in first


def test_an_empty_queue(web: HttpClient, queue: str) -> None:
    """At once, or when the time is over."""
    assert web.ok("GET", f"/queues/{queue}/jobs") == {"data": [], "job": None}
    assert web.ok("GET", f"/queues/{queue}/jobs?count=5&timeout=20") == {"data": []}


def test_a_pull_that_waits(web: HttpClient, server: ServerProcess, queue: str) -> None:
    """It is answered by the next push, whatever door that comes through."""
    web.send("GET", f"/queues/{queue}/jobs?timeout=10000")
    with server.client() as lines:
        id = lines.ok("PUSH", queue=queue, data=1)["id"]
    assert web.receive().json["job"]["id"] == id


def test_a_client_that_leaves_takes_no_job_along(server: ServerProcess, queue: str) -> None:
    """Its pull is taken back; the next job is for somebody else."""
    gone = HttpClient(server.http_port)
    gone.send("GET", f"/queues/{queue}/jobs?timeout=10000")
    with server.client() as lines:
        lines.ok("PING")
        gone.close()
        lines.ok("PUSH", queue=queue, data=1)
        deadline = time.monotonic() + 5
        job = None
        while job is None and time.monotonic() < deadline:
            job = lines.ok("PULL", queue=queue, timeout=100)["job"]
        assert job is not None
        assert job["attempts"] == 0


def test_failures_and_dead_letters(web: HttpClient, queue: str) -> None:
    """Failed for good, listed, tried again, purged."""
    path = f"/queues/{queue}"
    for _ in range(2):
        web.ok("POST", f"{path}/jobs", {"data": 1, "max_attempts": 1})
        job = web.ok("GET", f"{path}/jobs")["job"]
        assert web.data("POST", f"/jobs/{job['id']}/fail", {"error": "broke", "token": job["token"]}) is None
    letters = web.data("GET", f"{path}/dlq")
    assert [letter["progress_msg"] for letter in letters] == ["broke", "broke"]
    assert len(web.data("GET", f"{path}/dlq?count=1")) == 1
    assert web.data("POST", f"{path}/dlq/retry", {"id": letters[0]["id"]}) == 1
    assert web.data("DELETE", f"{path}/dlq") == 1
    assert web.data("POST", f"{path}/dlq/retry") == 0


def test_brakes(web: HttpClient, queue: str) -> None:
    """Pause, rate limit and concurrency, on and off, as the listing shows them."""
    path = f"/queues/{queue}"
    web.ok("POST", f"{path}/jobs", {"data": 1})
    for on, off, member, value in (
        (("POST", f"{path}/pause"), ("POST", f"{path}/resume"), "paused", True),
        (("POST", f"{path}/rate-limit", {"limit": 5}), ("DELETE", f"{path}/rate-limit"), "rate_limit", 5),
        (("POST", f"{path}/concurrency", {"limit": 3}), ("DELETE", f"{path}/concurrency"), "concurrency_limit", 3),
    ):
        assert web.data(*on) is None
        assert _queue(web, queue)[member] == value
        assert web.data(*off) is None
        assert not _queue(web, queue)[member]


def test_schedules(web: HttpClient, queue: str) -> None:
    """Set, listed, deleted, and deleted no second time."""
    body = {"queue": queue, "schedule": "*/3600", "data": {"n": 1}}
    assert web.data("POST", f"/crons/{queue}", body) is None
    (cron,) = [each for each in web.data("GET", "/crons") if each["name"] == queue]
    assert (cron["schedule"], cron["data"], cron["timezone"]) == ("*/3600", {"n": 1}, "UTC")
    assert web.data("DELETE", f"/crons/{queue}") is True
    assert web.refused("DELETE", f"/crons/{queue}") == (404, "not_found", "Cron job not found")


def test_webhooks(web: HttpClient, queue: str) -> None:
    """Registered, listed without their secrets, deleted, and deleted no second time."""
    url = f"https://example.org/{queue}"
    id = web.data("POST", "/webhooks", {"url": url, "events": ["failed"], "queue": queue, "secret": "hush"})
    (hook,) = [each for each in web.data("GET", "/webhooks") if each["id"] == id]
    assert (hook["url"], hook["events"], hook["queue"], hook["has_secret"]) == (url, ["failed"], queue, True)
    assert "secret" not in hook
    assert web.data("DELETE", f"/webhooks/{id}") is True
    assert web.refused("DELETE", f"/webhooks/{id}") == (404, "not_found", "Webhook not found")
    status, code, _ = web.refused("POST", "/webhooks", {"url": "http://10.0.0.1/", "events": ["*"]})
    assert (status, code) == (400, "bad_request")


def test_the_server_speaks_of_itself(web: HttpClient, server: ServerProcess, queue: str) -> None:
    """Counts, rates, workers, settings, nodes."""
    web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
    assert web.data("GET", "/stats")["queued"] >= 1
    assert web.data("GET", "/metrics")["total_pushed"] >= 1
    assert isinstance(web.data("GET", "/workers"), list)
    settings = web.data("GET", "/settings")
    assert (settings["version"], settings["port"], settings["http_port"]) == (
        __version__,
        server.port,
        server.http_port,
    )
    assert (settings["auth"], settings["tls"], settings["exposed"]) == (False, False, False)
    (node,) = web.data("GET", "/cluster/nodes")
    assert (node["node_id"], node["is_leader"]) == ("standalone", True)


def test_jobs_are_listed(web: HttpClient, queue: str) -> None:
    """By queue and state, newest first, a page at a time; what cannot be asked is refused."""
    ids = web.data("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": n} for n in range(5)]})["ids"]
    page = web.data("GET", f"/jobs?queue={queue}&state=waiting&limit=3")
    assert [(job["id"], job["state"]) for job in page["jobs"]] == [(id, "waiting") for id in reversed(ids[2:])]
    rest = web.data("GET", f"/jobs?queue={queue}&state=waiting&limit=3&cursor={page['next']}")
    assert ([job["data"] for job in rest["jobs"]], rest["next"]) == ([1, 0], None)
    assert web.data("GET", f"/jobs?queue={queue}&state=failed") == {"jobs": [], "next": None}
    for wrong in ("limit=0", "limit=x", "state=gone", "cursor=x", "queue="):
        assert web.refused("GET", f"/jobs?{wrong}")[:2] == (400, "bad_request")


def test_a_job_is_explained(web: HttpClient, queue: str) -> None:
    """The reasons with their types; a job that never was is not there."""
    id = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1, "delay": 60_000})["id"]
    web.data("POST", f"/queues/{queue}/pause")
    why = web.data("GET", f"/jobs/{id}/explain")
    assert (why["id"], why["queue"], why["state"]) == (id, queue, "delayed")
    assert [reason["type"] for reason in why["reasons"]] == ["delayed", "paused"]
    assert web.refused("GET", "/jobs/9007199254740991/explain")[:2] == (404, "not_found")


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health(web: HttpClient, path: str) -> None:
    """What load balancers ask."""
    data = web.data("GET", path)
    assert (data["status"], data["is_leader"], data["cluster_enabled"]) == ("ok", True, False)
    assert set(data) == {"status", "node_id", "is_leader", "cluster_enabled", "storage"}


def test_anything_may_come_in(web: HttpClient, queue: str) -> None:
    """Another program's webhook is a job's data, whatever it looks like."""
    pushed = web.ok("POST", f"/webhooks/incoming/{queue}", b'{"event": "paid",\n "data": {"priority": 9}}')
    assert pushed["data"]["data"] == {"event": "paid", "data": {"priority": 9}}
    assert pushed["data"]["priority"] == 0
    assert web.refused("POST", f"/webhooks/incoming/{queue}", b"{")[:2] == (400, "bad_request")


def test_cancelling(web: HttpClient, queue: str) -> None:
    """Taken back; the second time it is not there to take."""
    id = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})["id"]
    assert web.data("POST", f"/jobs/{id}/cancel") is None
    assert web.refused("POST", f"/jobs/{id}/cancel")[0] in (404, 409)


def test_commands_as_over_lines(web: HttpClient, queue: str) -> None:
    """Several in one body, in order, each with its answer and its mark; errors are answers too."""
    lines = [
        {"cmd": "PUSH", "queue": queue, "data": 1, "reqId": "a"},
        {"cmd": "PULL", "queue": queue, "timeout": 0},
        {"cmd": "NOPE", "reqId": "b"},
        {"cmd": "ACK", "id": 10**9, "reqId": "c"},
    ]
    answer = web.ask("POST", "/commands", b"\n".join(json.dumps(line).encode() for line in lines) + b"\n")
    assert answer.status == 200
    pushed, pulled, unknown, refused = (json.loads(line) for line in answer.body.splitlines())
    assert (pushed["ok"], pushed["reqId"]) == (True, "a")
    assert pulled["job"]["id"] == pushed["id"]
    assert (unknown["code"], unknown["reqId"]) == ("bad_request", "b")
    assert (refused["code"], refused["reqId"]) == ("not_found", "c")


def test_many_commands_are_answered_in_pieces(web: HttpClient, queue: str) -> None:
    """Their answers are more than is kept back, and none is lost."""
    id = web.ok("POST", f"/queues/{queue}/jobs", {"data": "x" * 1_000})["id"]
    line = json.dumps({"cmd": "GETJOB", "id": id}).encode()
    answer = web.ask("POST", "/commands", b"\n".join([line] * 2_500))
    assert len(answer.body.splitlines()) == 2_500
    assert answer.headers["transfer-encoding"] == "chunked"


def test_a_worker_without_a_connection(web: HttpClient, queue: str) -> None:
    """It says hello, and a header says who pulls; what it holds is leased to it."""
    _command(web, cmd="HELLO", worker=queue)
    web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
    web.ok("GET", f"/queues/{queue}/jobs", FlashQ_Worker=queue)
    (worker,) = [each for each in web.data("GET", "/workers") if each["id"] == queue]
    assert worker["active"] == 1
    _command(web, cmd="BYE", worker=queue)
    assert _queue(web, queue)["pending"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/queues/q/jobs", {}, 400, "bad_request"),
        ("POST", "/queues/q/jobs", b"{", 400, "bad_request"),
        ("POST", "/queues/no%20name/jobs", {"data": 1}, 400, "bad_request"),
        ("POST", "/queues/%00/jobs", {"data": 1}, 400, "bad_request"),
        ("POST", "/queues/a%2Fb/jobs", {"data": 1}, 404, "not_found"),
        ("POST", "/queues/a%252e/jobs", {"data": 1}, 400, "bad_request"),
        ("POST", "/queues/../jobs", {"data": 1}, 400, "bad_request"),
        ("POST", "/queues/q/jobs", {"data": "x" * 1_048_577}, 413, "too_large"),
        ("POST", "/queues/q/jobs/batch", {"jobs": [{"data": 1}] * 1_001}, 413, "too_large"),
        ("GET", "/jobs/0", None, 404, "not_found"),
        ("GET", "/jobs/999999999", None, 404, "not_found"),
        ("GET", "/jobs/x", None, 400, "bad_request"),
        ("POST", "/jobs/999999999/ack", {}, 404, "not_found"),
        ("GET", "/queues/q/jobs?count=-1", None, 400, "bad_request"),
        ("GET", "/nothing", None, 404, "not_found"),
        ("GET", "/queues/q/jobs/", None, 404, "not_found"),
        ("GET", "//queues", None, 404, "not_found"),
        ("PUT", "/queues/q/jobs", {"data": 1}, 405, "bad_request"),
        ("TRACE", "/queues", None, 405, "bad_request"),
    ],
)
def test_what_is_refused(web: HttpClient, method: str, path: str, body: Any, status: int, code: str) -> None:
    """With a fitting status, a code, and a connection that goes on where that is possible."""
    assert web.refused(method, path, body)[:2] == (status, code)
    assert web.data("GET", "/health")["status"] == "ok"


def test_a_duplicate_names_the_job(web: HttpClient, queue: str) -> None:
    """409, and the job that holds the key."""
    body = {"data": 1, "unique_key": "k"}
    id = web.ok("POST", f"/queues/{queue}/jobs", body)["id"]
    answer = web.ask("POST", f"/queues/{queue}/jobs", body)
    assert (answer.status, answer.json["code"], answer.json["id"]) == (409, "duplicate", id)


def test_head_pulls_nothing(web: HttpClient, queue: str) -> None:
    """What may be asked without a thought must not take a job."""
    web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
    assert web.ask("HEAD", f"/queues/{queue}/jobs").status == 405
    assert web.ask("HEAD", "/queues").status == 200
    assert _queue(web, queue)["processing"] == 0


def test_pages_of_other_sites(web: HttpClient, queue: str) -> None:
    """They may neither push nor pull, and get no leave to read."""
    web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
    assert web.refused("POST", f"/queues/{queue}/jobs", {"data": 1}, Origin="https://evil.example")[0] == 403
    assert web.refused("GET", f"/queues/{queue}/jobs", Sec_Fetch_Site="cross-site")[0] == 403
    assert web.refused("GET", "/stats", Host="evil.example")[0] == 403
    answer = web.ask("GET", "/stats", Origin="https://evil.example")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_headers_of_every_answer(web: HttpClient) -> None:
    """Nothing is kept, guessed, framed or told."""
    for path in ("/stats", "/nothing", "/health", "/jobs/x"):
        headers = web.ask("GET", path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(8_000)),
        b"GET /" + b"x" * 100_000,
    ],
)
def test_a_head_without_end(server: ServerProcess, head: bytes) -> None:
    """Is cut off, and nobody else notices."""
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as raw:
        with suppress(BrokenPipeError, ConnectionResetError):  # it closes before it has read all, which resets
            raw.sendall(head)
        assert raw.recv(4096).startswith((b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 404"))
        with suppress(ConnectionResetError):
            while raw.recv(4096):
                pass
    with HttpClient(server.http_port) as web:
        assert web.data("GET", "/health")["status"] == "ok"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /queues/q/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
        b"POST /queues/q/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET /stats HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n",
        b"GET /stats HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"POST /queues/q/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00",
        b'{"cmd":"PING"}\n',
    ],
)
def test_requests_that_two_readers_may_read_differently(server: ServerProcess, request_: bytes) -> None:
    """Smuggled requests, folded headers, other protocols: refused, and the connection ends."""
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as raw:
        raw.sendall(request_)
        said = b""
        while piece := raw.recv(4096):
            said += piece
        assert said.startswith(b"HTTP/1.1 400")


def test_a_body_that_is_too_long_is_not_read(server: ServerProcess) -> None:
    """Its length says so before it has come, or its pieces when they have."""
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as raw:
        raw.sendall(b"POST /queues/q/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as raw:
        raw.sendall(b"POST /queues/q/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            raw.sendall(chunk * 64)


def test_a_compressed_body(web: HttpClient) -> None:
    """Is refused: nobody inflates what strangers send."""
    assert web.refused("POST", "/queues/q/jobs", b"x", Content_Encoding="gzip")[:2] == (415, "bad_request")
    assert web.refused("POST", "/commands", b"x", Content_Encoding="br")[:2] == (415, "bad_request")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that asks for a token and lets one other site's pages in."""
    environment = {"AUTH_TOKENS": TOKEN, "CORS_ALLOW_ORIGIN": "https://tools.example"}
    with ServerProcess(tmp_path_factory.mktemp("guarded"), url=MEMORY, environment=environment) as running:
        yield running


@pytest.mark.parametrize(
    "route", [*[(route.method, route.path) for route in ROUTES], ("POST", "/commands"), ("GET", "/ready")]
)
def test_every_route_asks_for_a_token(guarded: ServerProcess, route: tuple[str, str]) -> None:
    """None is forgotten: without one it is refused, and with a wrong one."""
    method, path = route
    path = path.replace("{queue}", "q").replace("{id}", "1").replace("{name}", "n")
    source = f"127.0.1.{next(_addresses)}"
    with HttpClient(guarded.http_port) as anonymous, HttpClient(guarded.http_port, "wrong", source) as wrong:
        assert anonymous.refused(method, path) == (401, "unauthorized", "Authentication required")
        assert wrong.refused(method, path, Authorization="Bearer wrong") == (401, "unauthorized", "Invalid token")


def test_health_asks_for_none_and_tells_nothing(guarded: ServerProcess) -> None:
    """A load balancer has no token."""
    with HttpClient(guarded.http_port) as anonymous, HttpClient(guarded.http_port, TOKEN) as known:
        assert anonymous.data("GET", "/health")["status"] == "ok"
        assert known.data("GET", "/settings")["auth"] is True
        assert TOKEN not in known.ask("GET", "/settings").body.decode()
        # behind a proxy it has a name of its own, and its clients have tokens
        assert known.ask("GET", "/stats", Host="queue.example").status == 200


def test_a_page_that_was_let_in(guarded: ServerProcess) -> None:
    """It is told that it may read; others are not."""
    with HttpClient(guarded.http_port, TOKEN) as web:
        preflight = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}
        answer = web.ask("OPTIONS", "/queues/q/jobs", Origin="https://tools.example", **preflight)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://tools.example"
        assert "access-control-allow-credentials" not in answer.headers
        assert web.ask("OPTIONS", "/queues/q/jobs", Origin="https://evil.example", **preflight).status == 400
        pushed = web.ask("POST", "/queues/q/jobs", {"data": 1}, Origin="https://tools.example")
        assert (pushed.status, pushed.headers["access-control-allow-origin"]) == (200, "https://tools.example")


def test_a_backup(web: HttpClient, server: ServerProcess) -> None:
    """It is told where it is; a server that keeps nothing has nothing to copy."""
    if server.url == MEMORY:
        status, code, _ = web.refused("POST", "/server/backup")
        assert (status, code) == (400, "bad_request")
    else:
        assert Path(web.data("POST", "/server/backup")["path"]).is_file()


@pytest.mark.parametrize(
    ("method", "path", "code"), [("POST", "/server/shutdown", 0), ("POST", "/server/restart", 100)]
)
def test_it_leaves_when_asked(tmp_path: Path, method: str, path: str, code: int) -> None:
    """Answered, drained, with its exit code; and everything it confirmed is there when it comes back."""
    with (
        ServerProcess(tmp_path) as server,
        HttpClient(server.http_port) as web,
        HttpClient(server.http_port) as waiting,
    ):
        id = web.ok("POST", "/queues/q/jobs", {"data": 1})["id"]
        waiting.send("GET", "/queues/other/jobs?timeout=60000")
        _command(web, cmd="PING")
        assert web.data(method, path) is None
        assert waiting.receive().json == {"ok": True, "data": [], "job": None}
        assert server.wait() == code
        server.start()
        with HttpClient(server.http_port) as again:
            assert again.data("GET", f"/jobs/{id}/state") == "waiting"


def test_a_door_that_is_not_wanted(tmp_path: Path) -> None:
    """``HTTP=off`` opens none, and a port that is taken stops the start."""
    with ServerProcess(tmp_path / "a", url=MEMORY, environment={"HTTP": "off"}) as server:
        assert server.http_port == 0
        taken = ServerProcess(tmp_path / "b", url=MEMORY, environment={"HTTP_PORT": str(server.port)})
        code, said = taken.run_to_end()
        assert code == 1
        assert "cannot start" in said


def test_no_history_is_kept_unasked(web: HttpClient) -> None:
    """The refusal says how to get one; tests/integration/test_audit.py has one."""
    for request in (("GET", "/jobs/1/history"), ("GET", "/audit")):
        assert web.refused(*request) == (400, "bad_request", "history is off: start the server with AUDIT=1")


def test_every_route_is_tried() -> None:
    """A row that no test of this file asks for would go untested."""
    tried = list(_asked_in(Path(__file__).read_text()))
    missing = [
        (route.method, route.path)
        for route in ROUTES
        if not any(method == route.method and _fits(path, route.path) for method, path in tried)
    ]
    assert missing == []


def _asked_in(source: str) -> Iterator[tuple[str, str]]:
    """Every method and path that stand side by side; what is put into a path later is ``{}``."""
    for node in ast.walk(ast.parse(source)):
        parts = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
        for method, path in pairwise(parts):
            if isinstance(method, ast.Constant) and method.value in ("GET", "POST", "DELETE"):
                if isinstance(path, ast.Constant):
                    yield method.value, str(path.value)
                elif isinstance(path, ast.JoinedStr):
                    texts = (str(part.value) if isinstance(part, ast.Constant) else "{}" for part in path.values)
                    yield method.value, "".join(texts)


def _fits(path: str, route: str) -> bool:
    """Whether this may be a path of that route; one that begins with something put in has its end alone."""
    asked, wanted = path.partition("?")[0].split("/"), route.split("/")
    if path.startswith("{}"):
        asked, wanted = asked[1:], wanted[len(wanted) - len(asked) + 1 :]
        if not asked:
            return False
    return len(asked) == len(wanted) and all(
        one == other or (other.startswith("{") and one) for one, other in zip(asked, wanted, strict=True)
    )


def _queue(web: HttpClient, name: str) -> dict[str, Any]:
    (found,) = [each for each in web.data("GET", "/queues") if each["name"] == name]
    return dict(found)


def _command(web: HttpClient, **members: Any) -> None:
    answer = web.ask("POST", "/commands", members)
    assert answer.json["ok"] is True, answer
