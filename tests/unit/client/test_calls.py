"""What each command sends, how its answer is read, and which may be sent twice."""

import gc
import itertools
import json
import weakref
from contextlib import suppress
from typing import Any

import pytest
from msgspec import Raw

from flashq.client import calls
from flashq.client.calls import Call
from flashq.client.encoding import FlowJob, JobSpec, encode
from flashq.client.results import JobRecord
from flashq.errors import (
    BY_CODE,
    BadRequest,
    Duplicate,
    FlashQError,
    NotFound,
    StaleAttempt,
)
from flashq.protocol.requests import REQUEST_TYPES
from flashq.reasons import Ahead, Explanation

JOB = {
    "id": 3,
    "queue": "q",
    "data": {"a": 1},
    "priority": 0,
    "created_at": 1,
    "run_at": 1,
    "started_at": 0,
    "attempts": 0,
    "max_attempts": 3,
    "backoff": 1000,
    "ttl": 0,
    "timeout": 0,
    "unique_key": None,
    "depends_on": [],
    "progress": 0,
    "progress_msg": None,
    "tags": [],
    "token": "t",
}
STATS = {"queued": 1, "processing": 2, "delayed": 3, "dlq": 4, "completed": 5, "waiting_children": 6}
METRICS = {
    "total_pushed": 1,
    "total_completed": 1,
    "total_failed": 0,
    "jobs_per_second": 0.5,
    "avg_latency_ms": 1.5,
    "queues": [{"name": "q", "pending": 1, "processing": 0, "dlq": 0, "rate_limit": None}],
}
WEBHOOK = {
    "id": "w", "url": "u", "events": ["*"], "queue": None, "has_secret": False, "created_at": 1, "pending": 1,
    "delivered": 2, "failed": 3, "dropped": 4, "last_error": "HTTP status 500",
}  # fmt: skip
CRON = {
    "name": "n",
    "queue": "q",
    "data": {"a": 1},
    "schedule": "*/5",
    "priority": 0,
    "timezone": "UTC",
    "next_run": 5,
    "last_run": None,
}
QUEUE = {
    "name": "q",
    "pending": 1,
    "processing": 0,
    "delayed": 0,
    "dlq": 0,
    "completed": 0,
    "paused": False,
    "rate_limit": None,
    "concurrency_limit": 5,
}
SETTINGS = {
    **dict.fromkeys(("version", "host", "durability"), "x"),
    **dict.fromkeys(("port", "http_port", "uptime_ms"), 1),
    "storage": "sqlite",
    "unix_socket": None,
    **dict.fromkeys(("auth", "tls", "exposed"), False),
}
NODE = {"node_id": "a", "host": "h", "port": 1, "is_leader": True, "state": "standalone"}
WORKER = {
    "id": "w",
    "queues": ["q"],
    "concurrency": 1,
    "host": None,
    "pid": None,
    "last_heartbeat": 5,
    "active": 0,
    "processed": 0,
    "failed": 0,
}
PULLED = JobRecord(id=3, queue="q", payload=Raw(b"{}"), token="t")


def sent(call: Call[Any]) -> dict[str, Any]:
    """What goes out, without the members that say nothing."""
    return {name: value for name, value in json.loads(encode(call.request)).items() if value is not None}


def read(call: Call[Any], **answer: object) -> Any:
    """What the call makes of a good answer with these members."""
    return call.read(json.dumps({"ok": True, **answer}, separators=(",", ":")).encode())


CASES: list[tuple[Call[Any], dict[str, Any]]] = [
    (calls.push("q", 1), {"cmd": "PUSH", "queue": "q", "data": 1}),
    (
        calls.push("q", 1, tags=("a",), depends_on=(1, 2), delay=5, unique_key="k"),
        {"cmd": "PUSH", "queue": "q", "data": 1, "tags": ["a"], "depends_on": [1, 2], "delay": 5, "unique_key": "k"},
    ),
    (
        calls.push_batch("q", [{"n": 1}, JobSpec(data=2, priority=3)]),
        {"cmd": "PUSHB", "queue": "q", "jobs": [{"data": {"n": 1}}, {"data": 2, "priority": 3}]},
    ),
    (calls.history(3), {"cmd": "HISTORY", "id": 3}),
    (calls.audit_log(limit=5), {"cmd": "AUDITLOG", "limit": 5}),
    (calls.audit_log(1, 5, 7), {"cmd": "AUDITLOG", "since": 1, "limit": 5, "cursor": 7}),
    (calls.pull("q", 0), {"cmd": "PULL", "queue": "q", "timeout": 0}),
    (calls.pull_batch("q", 5, None), {"cmd": "PULLB", "queue": "q", "count": 5}),
    (calls.wait_job(7, None), {"cmd": "WAITJOB", "id": 7}),
    (calls.pull_any(("q", "r"), 1, 9), {"cmd": "PULLANY", "queues": ["q", "r"], "timeout": 9}),
    (calls.ack(3, {"r": 1}), {"cmd": "ACK", "id": 3, "result": {"r": 1}}),
    (calls.ack(PULLED), {"cmd": "ACK", "id": 3, "token": "t"}),
    (calls.ack(PULLED, token="other"), {"cmd": "ACK", "id": 3, "token": "other"}),
    (calls.ack_batch([PULLED], [None]), {"cmd": "ACKB", "ids": [3], "tokens": ["t"], "results": [None]}),
    (calls.ack_batch([1, 2]), {"cmd": "ACKB", "ids": [1, 2]}),
    (calls.ack_batch([1], tokens=["t"]), {"cmd": "ACKB", "ids": [1], "tokens": ["t"]}),
    (
        calls.push_flow([FlowJob(queue="a", data=1), FlowJob(queue="b", data=2, after=[0], collect=True)]),
        {
            "cmd": "PUSHFLOW",
            "jobs": [{"queue": "a", "data": 1}, {"queue": "b", "data": 2, "after": [0], "collect": True}],
        },
    ),
    (calls.push("q", 1, collect=True), {"cmd": "PUSH", "queue": "q", "data": 1, "collect": True}),
    (calls.fail(PULLED, "why"), {"cmd": "FAIL", "id": 3, "error": "why", "token": "t"}),
    (calls.fail(3, delay=0), {"cmd": "FAIL", "id": 3, "delay": 0}),
    (calls.fail(PULLED, dead=True), {"cmd": "FAIL", "id": 3, "token": "t", "dead": True}),
    (calls.release(PULLED), {"cmd": "RELEASE", "id": 3, "token": "t"}),
    (calls.release(3, delay=5, token="x"), {"cmd": "RELEASE", "id": 3, "token": "x", "delay": 5}),
    (calls.bye("w", "killed"), {"cmd": "BYE", "worker": "w", "error": "killed"}),
    (calls.progress(3, 50, "half"), {"cmd": "PROGRESS", "id": 3, "progress": 50, "message": "half"}),
    (calls.heartbeat(PULLED), {"cmd": "HEARTBEAT", "id": 3, "token": "t"}),
    (calls.cancel(PULLED), {"cmd": "CANCEL", "id": 3}),
    (calls.result(3), {"cmd": "GETRESULT", "id": 3}),
    (calls.job(3), {"cmd": "GETJOB", "id": 3}),
    (calls.job_by_custom_id("c"), {"cmd": "GETJOBBYCUSTOMID", "job_id": "c"}),
    (calls.state(PULLED), {"cmd": "GETSTATE", "id": 3}),
    (calls.explain(PULLED), {"cmd": "EXPLAIN", "id": 3}),
    (calls.jobs(), {"cmd": "LISTJOBS"}),
    (
        calls.jobs("q", "failed", 5, "c"),
        {"cmd": "LISTJOBS", "queue": "q", "state": "failed", "limit": 5, "cursor": "c"},
    ),
    (calls.get_progress(3), {"cmd": "GETPROGRESS", "id": 3}),
    (calls.dead_letters("q", 5), {"cmd": "DLQ", "queue": "q", "count": 5}),
    (calls.retry_dead_letters("q"), {"cmd": "RETRYDLQ", "queue": "q"}),
    (calls.purge_dead_letters("q"), {"cmd": "PURGEDLQ", "queue": "q"}),
    (calls.queues(), {"cmd": "LISTQUEUES"}),
    (calls.pause("q"), {"cmd": "PAUSE", "queue": "q"}),
    (calls.resume("q"), {"cmd": "RESUME", "queue": "q"}),
    (calls.set_rate_limit("q", 5), {"cmd": "RATELIMIT", "queue": "q", "limit": 5}),
    (calls.clear_rate_limit("q"), {"cmd": "RATELIMITCLEAR", "queue": "q"}),
    (calls.set_concurrency("q", 5), {"cmd": "SETCONCURRENCY", "queue": "q", "limit": 5}),
    (calls.clear_concurrency("q"), {"cmd": "CLEARCONCURRENCY", "queue": "q"}),
    (
        calls.set_cron("n", "q", "*/5", {"a": 1}, timezone="Europe/Rome"),
        {"cmd": "CRON", "name": "n", "queue": "q", "schedule": "*/5", "data": {"a": 1}, "timezone": "Europe/Rome"},
    ),
    (
        calls.set_cron("n", "q", "*/5", timeout=1, ttl=2, backoff=0, max_attempts=4, unique_key="k", tags=("t",)),
        {
            "cmd": "CRON",
            "name": "n",
            "queue": "q",
            "schedule": "*/5",
            "timeout": 1,
            "ttl": 2,
            "backoff": 0,
            "max_attempts": 4,
            "unique_key": "k",
            "tags": ["t"],
        },
    ),
    (calls.set_cron("n", "q", "*/5"), {"cmd": "CRON", "name": "n", "queue": "q", "schedule": "*/5"}),
    (calls.delete_cron("n"), {"cmd": "CRONDELETE", "name": "n"}),
    (calls.crons(), {"cmd": "CRONLIST"}),
    (
        calls.add_webhook("https://example.org/", ["failed"], queue="q", secret="s"),
        {"cmd": "WEBHOOK", "url": "https://example.org/", "events": ["failed"], "queue": "q", "secret": "s"},
    ),
    (calls.add_webhook("u", ("*",)), {"cmd": "WEBHOOK", "url": "u", "events": ["*"]}),
    (calls.delete_webhook("w"), {"cmd": "WEBHOOKDELETE", "id": "w"}),
    (calls.webhooks(), {"cmd": "WEBHOOKLIST"}),
    (calls.stats(), {"cmd": "STATS"}),
    (calls.metrics(), {"cmd": "METRICS"}),
    (calls.ping(), {"cmd": "PING"}),
    (calls.auth("s"), {"cmd": "AUTH", "token": "s"}),
    (
        calls.hello("w", ["q"], 2, "h", 1),
        {"cmd": "HELLO", "worker": "w", "queues": ["q"], "concurrency": 2, "host": "h", "pid": 1},
    ),
    (calls.beat("w", wait=9), {"cmd": "BEAT", "worker": "w", "wait": 9}),
    (calls.beat("w"), {"cmd": "BEAT", "worker": "w"}),
    (calls.bye("w"), {"cmd": "BYE", "worker": "w"}),
    (calls.workers(), {"cmd": "WORKERS"}),
    (calls.settings(), {"cmd": "SETTINGS"}),
    (calls.nodes(), {"cmd": "NODES"}),
    (calls.shutdown(), {"cmd": "SHUTDOWN"}),
    (calls.restart(), {"cmd": "RESTART"}),
    (calls.backup(), {"cmd": "BACKUP"}),
    (calls.subscribe("*", ("failed",)), {"cmd": "SUBSCRIBE", "queue": "*", "events": ["failed"]}),
    (calls.unsubscribe("q"), {"cmd": "UNSUBSCRIBE", "queue": "q"}),
]


@pytest.mark.parametrize(("call", "request_"), CASES, ids=lambda value: value["cmd"] if isinstance(value, dict) else "")
def test_what_is_sent(call: Call[Any], request_: dict[str, Any]) -> None:
    """Each command has the members of the wire contract, and only those that were given."""
    assert sent(call) == request_


def test_no_command_is_forgotten() -> None:
    """Every request of the protocol can be made by the client."""
    wire = {kind.__struct_config__.tag for kind in REQUEST_TYPES}
    assert {request["cmd"] for _, request in CASES} == wire


def test_answers_about_the_past() -> None:
    """A history is a list of entries; a page of actions knows where the next begins."""
    entry = {"at": 5, "event": "pushed", "queue": "q", "attempt": 0, "worker": None, "detail": None}
    who = {"by": "ada", "peer": None, "door": None}
    (found,) = read(calls.history(3), id=3, history=[entry | who], truncated=False)
    assert (found.event, found.by) == ("pushed", "ada")
    action = {"number": 4, "at": 5, "action": "PAUSE", "target": "q", "detail": None} | who
    page = read(calls.audit_log(), audit=[action], cursor=4)
    assert ([action.action for action in page.actions], page.cursor) == (["PAUSE"], 4)


def test_answers() -> None:
    """Each answer's shape gives the value that its method promises."""
    assert read(calls.push("q", 1), id=7) == 7
    assert read(calls.push_batch("q", []), ids=[7, 8], duplicates=[1]) == [7, 8]
    assert read(calls.push_batch("q", []), ids=[7, 8], duplicates=[1]).duplicates == [1]
    assert read(calls.ack(1), already=True) is None
    assert read(calls.ack_batch([1]), ids=[1], stale=[4]).stale == [4]
    assert read(calls.retry_dead_letters("q"), ids=[5]) == 5
    assert read(calls.purge_dead_letters("q"), count=5) == 5
    assert read(calls.result(1), id=1, result={"a": 1}) == {"a": 1}
    assert read(calls.result(1), id=1, result=None) is None
    assert read(calls.state(1), id=1, state="delayed") == "delayed"
    why = read(
        calls.explain(3),
        explain={
            "id": 3,
            "queue": "q",
            "state": "waiting",
            "at": 9,
            "reasons": [{"type": "ahead", "count": 2, "exact": True}],
        },
    )
    assert why == Explanation(3, "q", "waiting", 9, [Ahead(2, exact=True)])
    page = read(calls.jobs(), jobs=[{"id": 3, "queue": "q", "data": 1, "state": "delayed"}], next=None)
    assert ([(job.id, job.data, job.state) for job in page.jobs], page.next) == ([(3, 1, "delayed")], None)
    assert read(calls.get_progress(1), progress={"id": 1, "progress": 5, "message": None}).progress == 5
    assert read(calls.stats(), **STATS).waiting_children == 6
    assert read(calls.metrics(), metrics=METRICS).queues[0].name == "q"
    assert read(calls.crons(), crons=[CRON])[0].data == {"a": 1}
    assert read(calls.add_webhook("u", ["*"]), id="w") == "w"
    assert read(calls.webhooks(), webhooks=[WEBHOOK])[0].last_error == "HTTP status 500"
    assert read(calls.queues(), queues=[QUEUE])[0].concurrency_limit == 5
    assert read(calls.workers(), workers=[WORKER])[0].id == "w"
    assert read(calls.settings(), settings=SETTINGS).storage == "sqlite"
    assert read(calls.nodes(), nodes=[NODE])[0].is_leader
    assert read(calls.ping()) is None


def test_jobs_in_answers() -> None:
    """A job knows its state: active when pulled, failed as a dead letter, else what the server says."""
    pulled = read(calls.pull("q", 0), job=JOB)
    assert (pulled.id, pulled.data, pulled.token, pulled.state) == (3, {"a": 1}, "t", "active")
    assert read(calls.pull("q", 0), job=None) is None
    assert [job.state for job in read(calls.pull_batch("q", 2, 0), jobs=[JOB, JOB])] == ["active", "active"]
    assert read(calls.dead_letters("q"), jobs=[JOB])[0].state == "failed"
    assert read(calls.job(3), job=JOB, state="delayed").state == "delayed"
    assert read(calls.job(3), job=None, state="unknown") is None


def test_an_answer_may_be_laid_out_otherwise() -> None:
    """Neither the order of members nor spaces decide whether an answer is a good one."""
    assert calls.push("q", 1).read(b'{ "id" : 7, "ok" : true }') == 7
    assert calls.ping().read(b'{"reqId":"1","ok":true}') is None


@pytest.mark.parametrize("code", BY_CODE)
def test_every_code_has_its_exception(code: str) -> None:
    """A refusal is raised as the error that its code names, with the server's sentence."""
    with pytest.raises(BY_CODE[code], match="a sentence") as refusal:
        calls.ping().read(json.dumps({"ok": False, "error": "a sentence", "code": code}).encode())
    assert refusal.value.code == code


def test_a_duplicate_names_the_job() -> None:
    """The job that holds the key comes with the error."""
    line = b'{"ok":false,"error":"Duplicate job with key: k","code":"duplicate","id":12}'
    with pytest.raises(Duplicate) as refusal:
        calls.push("q", 1).read(line)
    assert refusal.value.id == 12


def test_what_a_caller_holds_is_freed_without_the_collector() -> None:
    """An error that its own frames hold would keep all that they hold, until the collector comes."""

    class Thing:
        """Something that the caller has in hand."""

    def refused() -> "weakref.ref[Thing]":
        thing = Thing()
        with suppress(FlashQError):
            calls.ping().read(b'{"ok":false,"error":"No","code":"not_found"}')
        return weakref.ref(thing)

    gc.collect()
    gc.disable()
    try:
        assert refused()() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("line", [b'{"ok":false,"error":"No"}', b'{"ok":false,"error":"No","code":"of_the_future"}'])
def test_codes_that_are_not_known(line: bytes) -> None:
    """A server without codes, or with newer ones, still raises an error that a program can catch."""
    with pytest.raises(FlashQError, match="No"):
        calls.ping().read(line)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"ok":true', b'{"ok":true,"id":"x"}', b'{"ok":true}', b"\xff"])
def test_unreadable_answers(line: bytes) -> None:
    """Whatever a broken server says, it is a FlashQError that shows what came."""
    with pytest.raises(FlashQError, match="unreadable"):
        calls.push("q", 1).read(line)


def test_repeatable() -> None:
    """What may be sent twice is what changes nothing the second time; the rest is listed here, and no more."""
    never = {
        *("PUSH", "PUSHB", "PUSHFLOW", "ACK", "ACKB", "FAIL", "RELEASE", "PROGRESS", "HEARTBEAT", "CANCEL"),
        *("RETRYDLQ", "PURGEDLQ", "CRONDELETE", "WEBHOOK", "WEBHOOKDELETE", "SHUTDOWN", "RESTART"),
        "BACKUP",
    }
    bare = {sent(call)["cmd"] for call, _ in CASES if not call.repeatable}
    assert bare <= never
    assert calls.push("q", 1, job_id="j").repeatable
    assert calls.push_batch("q", [JobSpec(data=1, job_id="j")]).repeatable
    assert not calls.push_batch("q", [JobSpec(data=1, job_id="j"), 2]).repeatable
    assert calls.push_flow([FlowJob(queue="q", data=1, job_id="j")]).repeatable
    assert calls.ack(PULLED).repeatable
    assert not calls.ack(3).repeatable
    assert calls.progress(PULLED, 5).repeatable
    assert calls.heartbeat(PULLED).repeatable
    assert not calls.fail(PULLED).repeatable
    assert not calls.release(PULLED).repeatable


def test_signing_makes_pushes_repeatable() -> None:
    """Jobs without an id of their own get one; given ids and the caller's own objects stay untouched."""
    ids = (f"id{n}" for n in itertools.count())
    assert sent(calls.signed(calls.push("q", 1), ids))["job_id"] == "id0"
    assert sent(calls.signed(calls.push("q", 1, job_id="mine"), ids))["job_id"] == "mine"
    spec = JobSpec(data=1)
    flow = calls.signed(
        calls.push_flow([FlowJob(queue="q", data=1, job_id="my"), FlowJob(queue="q", data=2)]), iter("x")
    )
    assert flow.repeatable
    assert [job["job_id"] for job in sent(flow)["jobs"]] == ["my", "x"]
    batch = calls.signed(calls.push_batch("q", [spec, JobSpec(data=2, job_id="mine"), 3]), ids)
    assert batch.repeatable
    assert [job["job_id"] for job in sent(batch)["jobs"]] == ["id1", "mine", "id2"]
    assert spec.job_id is None
    other = calls.ack(3)
    assert calls.signed(other, ids) is other


@pytest.mark.parametrize(
    "arguments",
    [
        {"jobs": [PULLED, 4]},
        {"jobs": [1, 2], "results": [1]},
        {"jobs": [1, 2], "tokens": ["t"]},
    ],
)
def test_batches_that_do_not_fit(arguments: dict[str, Any]) -> None:
    """Lists that do not align are refused before anything is acknowledged with somebody else's result."""
    with pytest.raises(BadRequest):
        calls.ack_batch(**arguments)


def test_errors_keep_their_family() -> None:
    """A stale attempt is not mistaken for a missing job."""
    assert not issubclass(StaleAttempt, NotFound)
