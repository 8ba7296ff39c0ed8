"""Unit tests of `flashq.commands.scope`.

Somebody else's queue is filled with things whose every word begins with ``foreign``. Then every command of the table is
tried on them with a token that is good for other queues: nothing may change, and nothing may be told.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.unit.commands.desk import Answer, Desk

from flashq.commands.scope import RULES, speaks_for
from flashq.commands.session import Session
from flashq.commands.table import COMMANDS
from flashq.errors import FlashQError, Forbidden, NotFound
from flashq.model import Event
from flashq.observe.ring import Told
from flashq.security.identity import Identity, Scope

NEVER = 1_000_000
"""An id that was never given out."""


class Ear:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def tell(self, told: list[Told]) -> None:
        """Take events."""
        self.heard += [one.event.queue for one in told]


class Two:
    """A desk at which two ask: the one who sees everything, and the one with queues of its own.

    Attributes:
        desk: of both.
        jobs: somebody else's, by what they are for.
        hook: somebody else's webhook.
        token: of the one that is active.
    """

    def __init__(self) -> None:
        self.desk = Desk()
        self.desk.keep_history()
        self.everyone = self.desk.session
        self.own = Session(subscriber=Ear())
        self.own.identify(Identity("own", scope=Scope(("own*",))))
        self.jobs: dict[str, int] = {}
        self.token = self.hook = ""
        self._fill("foreign")
        self._fill("own")

    def _fill(self, whose: str) -> None:
        """A job in each state, a schedule, a worker, a setting."""
        queue = f"{whose}-queue"
        self.desk.session = Session()
        if whose == "own":
            self.desk.session = self.own
        ask = self.desk.ask
        ask("HELLO", worker=f"{whose}-worker", queues=[queue], host=f"{whose}-host", holds=[])
        ids = {}
        ids["completed"] = ask("PUSH", queue=queue, data=f"{whose}-data")["id"]
        token = ask("PULL", queue=queue)["job"]["token"]
        ask("ACK", id=ids["completed"], token=token, result=f"{whose}-result")
        ids["dead"] = ask("PUSH", queue=queue, data=f"{whose}-data", max_attempts=1)["id"]
        ask("PULL", queue=queue)
        ask("FAIL", id=ids["dead"], error=f"{whose}-error")
        ids["active"] = ask("PUSH", queue=queue, data=f"{whose}-data", tags=[f"{whose}-tag"])["id"]
        token = ask("PULL", queue=queue)["job"]["token"]
        ask("PROGRESS", id=ids["active"], progress=7, message=f"{whose}-message")
        ids["waiting"] = ask(
            "PUSH", queue=queue, data=f"{whose}-data", job_id=f"{whose}-id", unique_key=f"{whose}-key"
        )["id"]
        ids["child"] = ask("PUSH", queue=queue, data=1, depends_on=[ids["waiting"]])["id"]
        ids["delayed"] = ask("PUSH", queue=queue, data=1, delay=60_000)["id"]
        ask("CRON", name=f"{whose}-cron", queue=queue, schedule="0 3 * * *", data=f"{whose}-data")
        ask("RATELIMIT", queue=queue, limit=1_000)
        hook = ask("WEBHOOK", url=f"https://{whose}-hook.example/", events=["*"], queue=queue)["id"]
        if whose == "foreign":
            self.jobs, self.token, self.hook = ids, token, hook

    def ask(self, cmd: str, **members: Any) -> Answer:
        """The answer to the one with queues of its own; a refusal is an answer."""
        self.desk.session = self.own
        try:
            return self.desk.ask(cmd, **members)
        except FlashQError as error:
            return {"error": str(error), "code": error.code}

    def seen(self) -> list[Answer]:
        """All that there is, as the one who sees everything sees it, but what belongs to the own queues."""
        self.desk.session = self.everyone
        ask = self.desk.ask
        told = [ask("GETJOB", id=id) for id in self.jobs.values()]
        told += [ask("GETRESULT", id=id) for id in self.jobs.values()]
        told += [{"dlq": ask("DLQ", queue="foreign-queue")}]
        for cmd, kind, name in (
            ("LISTQUEUES", "queues", "name"), ("CRONLIST", "crons", "name"), ("WORKERS", "workers", "id"),
        ):  # fmt: skip
            told += [row for row in ask(cmd)[kind] if row[name].startswith("foreign")]
        told += [hook for hook in ask("WEBHOOKLIST")["webhooks"] if hook["queue"] == "foreign-queue"]
        engine = self.desk.engine
        told.append({"deadlines": [lease.deadline for lease in engine.workers["foreign-worker"].leases]})
        told.append({"waiting": list(engine.queues.by_name["foreign-queue"].waiters.line)})
        return told


@pytest.fixture
def two() -> Two:
    """Fresh for each test."""
    return Two()


def by_id(cmd: str, **members: Any) -> list[dict[str, Any]]:
    """A command on each of somebody else's jobs."""
    return [{"cmd": cmd, "id": kind, **members} for kind in ("completed", "dead", "active", "waiting", "child")]


Q = {"queue": "foreign-queue"}
ATTEMPTS: dict[str, list[dict[str, Any]]] = {
    "PUSH": [
        {**Q, "data": 1}, {**Q, "data": 1, "job_id": "foreign-id"}, {"queue": "own", "data": 1, "job_id": "foreign-id"},
        {"queue": "own", "data": 1, "depends_on": ["waiting"], "collect": True},
        {"queue": "own", "data": 1, "depends_on": ["completed"], "collect": True},
    ],
    "PUSHB": [
        {**Q, "jobs": []}, {**Q, "jobs": [{"data": 1}]},
        {"queue": "own", "jobs": [{"data": 1, "depends_on": ["dead"]}]},
        {"queue": "own", "jobs": [{"data": 1}, {"data": 1, "job_id": "foreign-id"}]},
    ],
    "PUSHFLOW": [
        {"jobs": [{"queue": "own", "data": 1}, {**Q, "data": 1, "after": [0]}]},
        {"jobs": [{"queue": "own", "data": 1, "depends_on": ["active"]}]},
        {"jobs": [{"queue": "own", "data": 1, "job_id": "foreign-id"}]},
    ],
    "PULL": [{**Q, "timeout": 0}, Q],
    "PULLB": [{**Q, "count": 5, "timeout": 0}, {**Q, "count": 5}],
    "PULLANY": [{"queues": ["own", "foreign-queue"], "timeout": 0}, {"queues": ["foreign-queue"], "count": 3}],
    "ACK": [*by_id("ACK"), *by_id("ACK", token="stolen"), *by_id("ACK", result="mine")],
    "ACKB": [
        {"ids": ["active", "completed"]}, {"ids": ["active"], "tokens": ["stolen"]},
        {"ids": ["active", "waiting"], "results": ["mine", 2]},
    ],
    "FAIL": [*by_id("FAIL"), *by_id("FAIL", token="stolen", dead=True)],
    "RELEASE": [*by_id("RELEASE"), *by_id("RELEASE", token="stolen")],
    "PROGRESS": [*by_id("PROGRESS", progress=99, message="mine"), *by_id("PROGRESS", progress=1, token="stolen")],
    "HEARTBEAT": [*by_id("HEARTBEAT"), *by_id("HEARTBEAT", token="stolen")],
    "WAITJOB": [*by_id("WAITJOB"), *by_id("WAITJOB", timeout=0)],
    "GETRESULT": by_id("GETRESULT"),
    "GETJOB": by_id("GETJOB"),
    "GETJOBBYCUSTOMID": [{"job_id": "foreign-id"}],
    "GETSTATE": by_id("GETSTATE"),
    "GETPROGRESS": by_id("GETPROGRESS"),
    "EXPLAIN": by_id("EXPLAIN"),
    "LISTJOBS": [{}, Q, {"state": "waiting"}, {"state": "failed", "limit": 1}, {**Q, "state": "failed"}],
    "CANCEL": by_id("CANCEL"),
    "DLQ": [Q],
    "RETRYDLQ": [Q, {**Q, "id": "dead"}, {"queue": "own-queue", "id": "dead"}],
    "PURGEDLQ": [Q],
    "RATELIMIT": [{**Q, "limit": 5}],
    "RATELIMITCLEAR": [Q],
    "SETCONCURRENCY": [{**Q, "limit": 5}],
    "CLEARCONCURRENCY": [Q],
    "PAUSE": [Q],
    "RESUME": [Q],
    "LISTQUEUES": [{}],
    "CRON": [
        {"name": "foreign-cron", "queue": "own", "schedule": "*/5"}, {"name": "new", **Q, "schedule": "*/5"},
        {"name": "foreign-cron", **Q, "schedule": "*/5"},
    ],
    "CRONDELETE": [{"name": "foreign-cron"}],
    "CRONLIST": [{}],
    "WEBHOOK": [
        {"url": "https://a.example/", "events": ["*"]}, {**Q, "url": "https://a.example/", "events": ["failed"]},
    ],
    "WEBHOOKDELETE": [{"id": "foreign-hook"}],
    "WEBHOOKLIST": [{}],
    "SUBSCRIBE": [Q],
    "UNSUBSCRIBE": [Q],
    "STATS": [{}],
    "METRICS": [{}],
    "AUTH": [{"token": "x"}],
    "PING": [{}],
    "HELLO": [
        {"worker": "new", "queues": ["own", "foreign-queue"]}, {"worker": "foreign-worker"},
        {"worker": "foreign-worker", "queues": ["own"], "holds": []},
    ],
    "BEAT": [{"worker": "foreign-worker"}, {"worker": "foreign-worker", "wait": 10}],
    "BYE": [{"worker": "foreign-worker"}, {"worker": "foreign-worker", "error": "mine"}],
    "WORKERS": [{}],
    "HISTORY": by_id("HISTORY"),
    "AUDITLOG": [{}, {"since": 0, "limit": 1}],
    "SETTINGS": [{}],
    "NODES": [{}],
    "SHUTDOWN": [{}],
    "RESTART": [{}],
    "BACKUP": [{}],
}  # fmt: skip
"""What the one with queues of its own tries on somebody else's, for every command. A job is named by what it is for."""


def attempts(two: Two, name: str, put: int | None = None) -> Iterator[dict[str, Any]]:
    """The attempts of a command, with ids in place of names: those of the jobs, or ``put`` for all of them."""

    def id_of(word: Any) -> Any:
        if word == "foreign-hook":
            return two.hook if put is None else str(put)
        return two.jobs[word] if put is None else put

    for members in ATTEMPTS[name]:
        filled = {**members}
        filled.pop("cmd", None)
        if "id" in filled:
            filled["id"] = id_of(filled["id"])
        if "ids" in filled:
            filled["ids"] = [id_of(word) for word in filled["ids"]]
        for spec in (filled, *filled.get("jobs", ())):
            if "depends_on" in spec:
                spec["depends_on"] = [id_of(word) if isinstance(word, str) else word for word in spec["depends_on"]]
        if filled.get("token") == "stolen":
            filled["token"] = two.token
        if "tokens" in filled:
            filled["tokens"] = [two.token]
        yield filled


def test_every_command_has_a_rule() -> None:
    """A new command says in RULES what a token with queues of its own may do with it, or nothing: `closed`."""
    assert {request.__name__ for request in set(COMMANDS) ^ set(RULES)} == set()


def test_every_command_is_tried() -> None:
    """And it says here how such a token might try to reach somebody else's queue with it."""
    assert {command.name for command in COMMANDS.values()} ^ set(ATTEMPTS) == set()


@pytest.mark.parametrize("name", ATTEMPTS)
def test_nothing_of_others_is_told_or_touched(two: Two, name: str) -> None:
    """No name, no content and no effect, but what the question itself said."""
    before = two.seen()
    for members in attempts(two, name):
        said = msgspec.json.encode(members).decode()
        told = msgspec.json.encode(two.ask(name, **members)).decode()
        for word in (
            "foreign-queue", "foreign-data", "foreign-result", "foreign-error", "foreign-tag", "foreign-message",
            "foreign-id", "foreign-key", "foreign-cron", "foreign-worker", "foreign-host", "foreign-hook", two.token,
        ):  # fmt: skip
            assert word in said or word not in told, (members, told)
        assert two.seen() == before, members


@pytest.mark.parametrize("name", [name for name in ATTEMPTS if any("id" in one for one in ATTEMPTS[name])])
def test_a_job_of_others_is_like_one_that_is_not_there(two: Two, name: str) -> None:
    """Word for word, but for its number."""
    there = [(members["id"], two.ask(name, **members)) for members in attempts(two, name) if "id" in members]
    never = [two.ask(name, **members) for members in attempts(two, name, NEVER) if "id" in members]
    assert [repr(answer).replace(str(id), "N") for id, answer in there] == [
        repr(answer).replace(str(NEVER), "N") for answer in never
    ]


def test_refusals_name_what_was_asked_for(two: Two) -> None:
    """A queue by its name; a parent as one that never was; a name that is taken without saying by whom."""
    told = [two.ask("PUSH", **members)["error"] for members in attempts(two, "PUSH")]
    parent = two.jobs["waiting"]
    assert told[0] == "Forbidden: this token is not for queue 'foreign-queue'"
    assert told[2] == "Forbidden: the name 'foreign-id' is not free for this token"
    assert told[3] == f"Invalid: depends_on names unknown job {parent}"
    assert "jobs[1]: the name 'foreign-id'" in [two.ask("PUSHB", **m) for m in attempts(two, "PUSHB")][3]["error"]


def test_own_things_work_as_ever(two: Two) -> None:
    """Whatever belongs to the own queues is seen and moved as without patterns."""
    assert two.ask("STATS") == {
        "queued": 1, "processing": 1, "delayed": 1, "dlq": 1, "completed": 1, "waiting_children": 1
    }  # fmt: skip
    assert [queue["name"] for queue in two.ask("LISTQUEUES")["queues"]] == ["own-queue"]
    assert [row["name"] for row in two.ask("CRONLIST")["crons"]] == ["own-cron"]
    (hook,) = two.ask("WEBHOOKLIST")["webhooks"]
    assert hook["url"] == "https://own-hook.example/"
    assert two.ask("WEBHOOKDELETE", id=hook["id"]) == {}
    assert two.ask("WEBHOOK", url="https://own.example/", events=["*"], queue="own-2")["id"]
    assert [row["id"] for row in two.ask("WORKERS")["workers"]] == ["own-worker"]
    metrics = two.ask("METRICS")["metrics"]
    assert (metrics["total_pushed"], metrics["total_completed"], metrics["total_failed"]) == (6, 1, 1)
    assert [queue["name"] for queue in metrics["queues"]] == ["own-queue"]
    assert two.ask("GETJOBBYCUSTOMID", job_id="own-id")["job"]["queue"] == "own-queue"
    assert two.ask("PUSH", queue="own-queue", data=1, job_id="own-id")["replayed"] is True
    assert two.ask("CRON", name="own-cron", queue="own-2", schedule="*/5") == {}
    assert two.ask("CRONDELETE", name="own-cron") == {}
    assert two.ask("BEAT", worker="own-worker") == {}
    assert len(two.ask("PULLANY", queues=["own", "own-queue"], timeout=0)["jobs"]) == 1
    assert two.ask("WAITJOB", id=NEVER)["state"] == "unknown"
    id = two.ask("PUSH", queue="own", data=1)["id"]
    assert [entry["event"] for entry in two.ask("HISTORY", id=id)["history"]] == ["pushed"]


def test_only_own_jobs_are_listed(two: Two) -> None:
    """All of them, and by their states as well; the pages go on as ever."""
    listed = two.ask("LISTJOBS")["jobs"]
    assert [job["queue"] for job in listed] == ["own-queue"] * 6
    assert {job["state"] for job in two.ask("LISTJOBS", state="failed")["jobs"]} == {"failed"}
    page = two.ask("LISTJOBS", limit=4)
    rest = two.ask("LISTJOBS", limit=4, cursor=page["next"])
    assert page["jobs"] + rest["jobs"] == listed
    assert rest["next"] is None


def test_what_an_explanation_says_of_others(two: Two) -> None:
    """A foreign parent has no state, a worker of other queues no name, and what is gone may have been anybody's."""
    desk = two.desk
    desk.session = two.everyone
    child = desk.ask("PUSH", queue="own-queue", data=1, depends_on=[two.jobs["waiting"]])["id"]
    desk.ask("HELLO", worker="both", queues=["own-queue", "foreign-queue"])
    held = desk.ask("PULL", queue="own-queue")["job"]["id"]
    gone = desk.ask("PUSH", queue="own-queue", data=1)["id"]
    desk.ask("CANCEL", id=gone)
    (parents,) = two.ask("EXPLAIN", id=child)["explain"]["reasons"]
    assert parents["parents"] == [{"id": two.jobs["waiting"], "state": "unknown"}]
    assert two.ask("EXPLAIN", id=held)["explain"]["reasons"][0]["worker"] is None
    assert two.ask("EXPLAIN", id=gone) == {"error": f"Job {gone} not found", "code": "not_found"}
    (own,) = (job["id"] for job in two.ask("LISTJOBS", state="active")["jobs"] if job["id"] != held)
    assert two.ask("EXPLAIN", id=own)["explain"]["reasons"][0]["worker"] == "own-worker"


def test_a_batch_of_acks_counts_the_own_ones(two: Two) -> None:
    """Ids of others are skipped with their tokens and results; what does not fit together is refused as ever."""
    id = two.ask("PUSH", queue="own", data=1)["id"]
    token = two.ask("PULL", queue="own")["job"]["token"]
    ids = [two.jobs["active"], id, two.jobs["waiting"]]
    before = two.seen()
    assert two.ask("ACKB", ids=ids, tokens=[token])["code"] == "bad_request"
    told = two.ask("ACKB", ids=ids, tokens=[two.token, token, ""], results=["a", "b", "c"])
    assert told == {"ids": [1], "stale": []}
    assert two.ask("GETRESULT", id=id)["result"] == "b"
    assert two.seen() == before


def test_events_of_all_queues_are_those_of_the_own(two: Two) -> None:
    """``*`` is heard within the scope, by who asked within one."""
    assert two.ask("SUBSCRIBE", queue="*") == {}
    two.desk.hub.publish([Event("pushed", "foreign-queue", 1, 5), Event("pushed", "own-queue", 2, 6)])
    ear = two.own.subscriber
    assert isinstance(ear, Ear)
    assert ear.heard == ["own-queue"]
    assert two.ask("UNSUBSCRIBE", queue="*") == {}


def test_a_worker_belongs_to_the_scope_it_was_named_in(two: Two) -> None:
    """Another token for the same queues may speak for it, one for other queues may not, one for all may."""
    same, other = Session(), Session()
    same.identify(Identity("same", scope=Scope(("own*",))))
    other.identify(Identity("other", scope=Scope(("o*",))))
    two.desk.session = same
    assert two.desk.ask("BEAT", worker="own-worker") == {}
    two.desk.session = other
    with pytest.raises(NotFound, match=r"^Worker 'own-worker' not found$"):
        two.desk.ask("BEAT", worker="own-worker")
    with pytest.raises(Forbidden, match="not free"):
        two.desk.ask("HELLO", worker="own-worker")
    assert [speaks_for(two.desk.context, each, "own-worker") for each in (same, other, Session())] == [
        True, False, True
    ]  # fmt: skip


def test_a_worker_of_mixed_queues_is_not_shown(two: Two) -> None:
    """What it does for others would be told with what it does for these."""
    two.desk.session = Session()
    two.desk.ask("HELLO", worker="mixed", queues=["own-queue", "foreign-queue"])
    two.desk.ask("HELLO", worker="nameless", queues=[])
    assert [row["id"] for row in two.ask("WORKERS")["workers"]] == ["own-worker"]


def test_a_command_without_a_rule_is_closed(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgetting the rule refuses; it does not let pass."""
    monkeypatch.delitem(RULES, next(request for request, one in COMMANDS.items() if one.name == "PING"))
    assert two.ask("PING") == {"error": "Forbidden: PING needs a token for all queues", "code": "forbidden"}
