"""Every command of the wire contract with its answers, and every error that it lists, through every door.

Answers are compared whole wherever the contract leaves no freedom, so that a member too many is found as well.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.doors import DOORS, LINES, TWICE, Door, Servers
from tests.fakes.second_try import second_try
from tests.fakes.server_process import Answer, LineClient, line

from flashq.commands.table import COMMANDS
from flashq.storage.reading import Reading
from flashq.storage.sqlite_reading import SqliteSource

DAY_MS = 24 * 3600 * 1000
BAD_NAME = "Queue name must contain only alphanumeric characters, underscores, hyphens, or dots"

JOB_MEMBERS = {
    "id", "queue", "data", "priority", "created_at", "run_at", "started_at", "attempts", "max_attempts", "backoff",
    "ttl", "timeout", "unique_key", "depends_on", "progress", "progress_msg", "tags",
}  # fmt: skip
"""What every JOB has. ``custom_id`` and ``token`` are there when they are set."""


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of this module."""
    with contextlib.ExitStack() as held:
        yield Servers(tmp_path_factory.mktemp("doors"), lambda: request.getfixturevalue("databases"), held)


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] if name in TWICE else []) for name in DOORS])
def door(request: pytest.FixtureRequest, running: Servers) -> Iterator[Door]:
    """One way in, and a queue of one's own."""
    kind, _, storage = request.param.partition("-")
    door = Door(running[storage], kind)
    yield door
    door.close()


@pytest.fixture
def client(door: Door) -> LineClient:
    """A connection."""
    return door.client()


of_a_connection = pytest.mark.parametrize("door", LINES, indirect=True)
"""What only a connection has, which over HTTP nobody has: events beside answers, and a pull that what follows ends."""


def now_ms() -> int:
    """The wall clock, which server and test share."""
    return time.time_ns() // 1_000_000


def pulled(client: LineClient, queue: str) -> Answer:
    """The next job of a queue, which must be there."""
    job: Answer = client.ok("PULL", queue=queue, timeout=0)["job"]
    assert job is not None
    return job


def active(client: LineClient, queue: str, **members: Any) -> tuple[int, str]:
    """Push a job and take it. Returns its id and token."""
    client.ok("PUSH", queue=queue, data=None, **members)
    job = pulled(client, queue)
    return job["id"], job["token"]


def dead(client: LineClient, queue: str, error: str = "boom") -> int:
    """Push a job and let it fail for good. Returns its id."""
    id, token = active(client, queue, max_attempts=1)
    assert client.ok("FAIL", id=id, token=token, error=error) == {}
    return id


# --- PUSH, PUSHB ---


def test_push_and_everything_a_job_is(door: Door, client: LineClient) -> None:
    """A job that says nothing gets the documented defaults, member for member."""
    before = now_ms()
    answer = client.ok("PUSH", queue=door.queue, data={"a": [1, None]})
    assert set(answer) == {"id"}
    job = client.ok("GETJOB", id=answer["id"])["job"]
    created = job.pop("created_at")
    assert before <= created <= now_ms()
    assert job == {
        "id": answer["id"], "queue": door.queue, "data": {"a": [1, None]}, "priority": 0, "run_at": created,
        "started_at": 0, "attempts": 0, "max_attempts": 3, "backoff": 1000, "ttl": 0, "timeout": 0,
        "unique_key": None, "depends_on": [], "progress": 0, "progress_msg": None, "tags": [],
    }  # fmt: skip


def test_push_with_every_member(door: Door, client: LineClient) -> None:
    """Every member of PUSH is found again in the job."""
    parent = client.ok("PUSH", queue=door.queue, data=0)["id"]
    said = {
        "priority": -7, "ttl": DAY_MS, "timeout": 5_000, "max_attempts": 9, "backoff": 77, "unique_key": "k",
        "depends_on": [parent], "tags": ["x", "ü"],
    }  # fmt: skip
    custom = door.name("custom")
    id = client.ok("PUSH", queue=door.queue, data="d", delay=60_000, job_id=custom, **said)["id"]
    answer = client.ok("GETJOB", id=id)
    assert answer["state"] == "waiting-children"
    job = answer["job"]
    assert {name: job[name] for name in said} == said
    assert job["custom_id"] == custom
    assert job["run_at"] == job["created_at"] + 60_000
    assert set(job) == JOB_MEMBERS | {"custom_id"}


def test_null_is_as_good_as_absent_where_the_contract_says_opt(door: Door, client: LineClient) -> None:
    """Members without a default may be null."""
    members = dict.fromkeys(
        ("delay", "ttl", "timeout", "max_attempts", "backoff", "unique_key", "depends_on", "tags", "job_id")
    )
    id = client.ok("PUSH", queue=door.queue, data=None, **members)["id"]
    job = client.ok("GETJOB", id=id)["job"]
    assert (job["max_attempts"], job["backoff"], job["tags"], job["data"]) == (3, 1000, [], None)
    assert "custom_id" not in job


def test_push_again_with_a_job_id_answers_the_first(door: Door, client: LineClient) -> None:
    """A push that is repeated after a lost answer makes one job."""
    custom = door.name("custom")
    first = client.ok("PUSH", queue=door.queue, data=1, job_id=custom)
    assert client.ok("PUSH", queue=door.queue, data=2, job_id=custom) == {**first, "replayed": True}
    answer = client.ok("GETJOBBYCUSTOMID", job_id=custom)
    assert (answer["job"]["id"], answer["job"]["data"], answer["state"]) == (first["id"], 1, "waiting")


def test_duplicate_key(door: Door, client: LineClient) -> None:
    """A live job holds its key, also among the dead letters; a completed one does not."""
    queue = door.queue
    first = client.ok("PUSH", queue=queue, data=1, unique_key="k", max_attempts=1)["id"]
    expected = {"ok": False, "error": "Duplicate job with key: k", "code": "duplicate", "id": first}
    assert client.ask("PUSH", queue=queue, data=2, unique_key="k") == expected
    assert client.ok("PUSH", queue=door.name("other"), data=2, unique_key="k")["id"] > first
    client.ok("FAIL", id=pulled(client, queue)["id"])
    assert client.ask("PUSH", queue=queue, data=2, unique_key="k") == expected
    client.ok("RETRYDLQ", queue=queue)
    client.ok("ACK", id=pulled(client, queue)["id"])
    assert client.ok("PUSH", queue=queue, data=2, unique_key="k")["id"] > first


def test_push_batch(door: Door, client: LineClient) -> None:
    """Ids are aligned with the jobs, and each job is its own."""
    jobs = [{"data": n, "priority": n, "tags": [str(n)]} for n in range(3)]
    ids = client.ok("PUSHB", queue=door.queue, jobs=jobs)["ids"]
    assert ids == sorted(set(ids))
    found = [client.ok("GETJOB", id=id)["job"] for id in ids]
    assert [(job["data"], job["priority"], job["tags"]) for job in found] == [(n, n, [str(n)]) for n in range(3)]


def test_push_batch_with_keys_and_ids_known_before(door: Door, client: LineClient) -> None:
    """A duplicate or a replay in a batch refuses nothing: its place holds the job that exists."""
    custom = door.name("custom")
    held = client.ok("PUSH", queue=door.queue, data=0, unique_key="k")["id"]
    known = client.ok("PUSH", queue=door.queue, data=0, job_id=custom)["id"]
    jobs = [{"data": 1}, {"data": 2, "unique_key": "k"}, {"data": 3, "job_id": custom}, {"data": 4, "unique_key": "n"},
            {"data": 5, "unique_key": "n"}]  # fmt: skip
    answer = client.ok("PUSHB", queue=door.queue, jobs=jobs)
    ids = answer["ids"]
    assert answer == {"ids": ids, "duplicates": [1, 4], "replayed": [2]}
    assert (ids[1], ids[2], ids[4]) == (held, known, ids[3])
    assert min(ids[0], ids[3]) > known


def test_push_empty_batch(door: Door, client: LineClient) -> None:
    """Nothing to do is done."""
    assert client.ok("PUSHB", queue=door.queue, jobs=[]) == {"ids": []}
    assert door.queue not in [queue["name"] for queue in client.ok("LISTQUEUES")["queues"]]


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ({"data": 1, "priority": 2**31}, "$.jobs[1].priority"),
        ({"priority": 1}, "$.jobs[1]"),
        ({"data": 1, "delay": -1}, "$.jobs[1].delay"),
        (7, "$.jobs[1]"),
    ],
)
def test_a_bad_job_refuses_the_whole_batch(door: Door, client: LineClient, bad: object, path: str) -> None:
    """The sentence names the place, and not one job was made."""
    code, text = client.refused("PUSHB", queue=door.queue, jobs=[{"data": 0}, bad])
    assert code == "bad_request"
    assert text.startswith("Invalid: ")
    assert path in text
    assert client.ok("PULL", queue=door.queue, timeout=0) == {"job": None}


def test_an_unknown_parent_refuses_the_whole_batch(door: Door, client: LineClient) -> None:
    """What types cannot see is seen before anything is changed as well."""
    jobs = [{"data": 0}, {"data": 1, "depends_on": [2**53 - 1]}]
    code, text = client.refused("PUSHB", queue=door.queue, jobs=jobs)
    assert (code, text) == ("bad_request", f"Invalid: jobs[1]: depends_on names unknown job {2**53 - 1}")
    assert client.ok("PULL", queue=door.queue, timeout=0) == {"job": None}


def test_push_flow(door: Door, client: LineClient) -> None:
    """Jobs of two queues in one step: ids in order, parents by place, children wait, inputs come along."""
    other = door.name("other")
    jobs = [
        {"queue": door.queue, "data": 1},
        {"queue": door.queue, "data": 2, "priority": -1},
        {"queue": other, "data": 3, "after": [1, 0], "collect": True},
    ]
    answer = client.ask("PUSHFLOW", jobs=jobs)
    first = answer["ids"][0]
    assert answer == {"ok": True, "ids": [first, first + 1, first + 2]}
    assert client.ok("GETSTATE", id=first + 2)["state"] == "waiting-children"
    client.ok("ACK", id=pulled(client, door.queue)["id"], result={"n": 1})
    assert client.ok("GETJOB", id=first + 2)["job"]["inputs"] == [None, {"n": 1}]
    client.ok("ACK", id=pulled(client, door.queue)["id"])
    job = pulled(client, other)
    assert set(job) == JOB_MEMBERS | {"token", "inputs"}
    assert (job["id"], job["depends_on"], job["inputs"]) == (first + 2, [first + 1, first], [None, {"n": 1}])
    client.ok("ACK", id=job["id"])
    assert set(client.ok("GETJOB", id=job["id"])["job"]) == JOB_MEMBERS


def test_push_flow_with_ids_known_before(door: Door, client: LineClient) -> None:
    """A known job stands for itself, as a parent too; a flow that is sent again makes nothing."""
    name = door.name("mine")
    known = client.ok("PUSH", queue=door.queue, data=0, job_id=name)["id"]
    jobs = [
        {"queue": door.queue, "data": 1, "job_id": name},
        {"queue": door.queue, "data": 2, "job_id": f"{name}-2", "after": [0]},
    ]
    answer = client.ok("PUSHFLOW", jobs=jobs)
    child = answer["ids"][1]
    assert answer == {"ids": [known, child], "replayed": [0]}
    assert client.ok("GETJOB", id=child)["job"]["depends_on"] == [known]
    assert client.ok("PUSHFLOW", jobs=jobs) == {"ids": [known, child], "replayed": [0, 1]}


BAD_FLOWS: list[tuple[list[dict[str, Any]], str, str]] = [
    ([{"queue": "a b"}], "bad_request", f"jobs[1]: {BAD_NAME}"),
    ([{"after": [1]}], "bad_request", "Invalid: jobs[1]: after names place 1, which is not before it"),
    ([{"depends_on": [2**53 - 1]}], "bad_request", f"Invalid: jobs[1]: depends_on names unknown job {2**53 - 1}"),
    ([{"unique_key": "held"}], "duplicate", "jobs[1]: Duplicate job with key: held"),
    ([{"unique_key": "k"}, {"unique_key": "k"}], "duplicate", "jobs[2]: Duplicate job with key: k (jobs[1] has it)"),
    (
        [{"data": "x" * 1_048_577}],
        "too_large",
        "Invalid: jobs[1]: Job data too large (1048579 bytes, max 1048576 bytes)",
    ),
    ([{"after": [0] * 5_001, "depends_on": [1] * 5_000}], "too_large", "jobs[1]: Too many parents (10001, max 10000)"),
    ([{"after": [0] * 9_000}] * 12, "too_large", "Too many dependencies (108000, max 100000)"),
    ([{}] * 10_000, "too_large", "Batch too large (10001 jobs, max 10000)"),
]


@pytest.mark.parametrize(("more", "code", "text"), BAD_FLOWS, ids=[str(place) for place in range(len(BAD_FLOWS))])
def test_a_bad_job_refuses_the_whole_flow(
    door: Door, client: LineClient, more: list[dict[str, Any]], code: str, text: str
) -> None:
    """All or none: the job that is wrong is named by its place, and nothing of the flow was pushed."""
    holder = client.ok("PUSH", queue=door.queue, data="before", unique_key="held")["id"]
    jobs = [{"queue": door.queue, "data": 0}, *({"queue": door.queue, "data": 0, **members} for members in more)]
    answer = client.ask("PUSHFLOW", jobs=jobs)
    assert (answer["code"], answer["error"]) == (code, text)
    assert answer.get("id") == (holder if "held" in text else None)
    assert [job["id"] for job in client.ok("PULLB", queue=door.queue, count=9)["jobs"]] == [holder]


def test_collecting_what_is_remembered(door: Door, client: LineClient) -> None:
    """A parent that completed before the push gives its result too; a job without parents collects nothing."""
    id, token = active(client, door.queue)
    client.ok("ACK", id=id, token=token, result=[1])
    client.ok("PUSHB", queue=door.queue, jobs=[{"data": 0, "depends_on": [id, id], "collect": True}])
    client.ok("PUSH", queue=door.queue, data=0, collect=True)
    jobs = client.ok("PULLB", queue=door.queue, count=2)["jobs"]
    assert [job["inputs"] for job in jobs] == [[[1], [1]], []]


def test_unknown_parent(door: Door, client: LineClient) -> None:
    """An id that was never issued is no parent."""
    refused = client.refused("PUSH", queue=door.queue, data=0, depends_on=[2**53 - 1])
    assert refused == ("bad_request", f"Invalid: depends_on names unknown job {2**53 - 1}")


# --- PULL, PULLB ---


def test_pull_order_and_token(door: Door, client: LineClient) -> None:
    """Higher priority first, then the order of pushing; every delivery names its attempt."""
    ids = [client.ok("PUSH", queue=door.queue, data=n, priority=p)["id"] for n, p in enumerate((0, 5, 0, -1))]
    jobs = [pulled(client, door.queue) for _ in ids]
    assert [job["id"] for job in jobs] == [ids[1], ids[0], ids[2], ids[3]]
    assert len({job["token"] for job in jobs}) == len(jobs)
    assert all(set(job) == JOB_MEMBERS | {"token"} for job in jobs)
    assert all(job["started_at"] >= job["created_at"] > 0 for job in jobs)


def test_pull_waits_for_its_timeout(door: Door, client: LineClient) -> None:
    """A pull that finds nothing answers null, at once or when its time is over."""
    assert client.ask("PULL", queue=door.queue, timeout=0) == {"ok": True, "job": None}

    def wait() -> float:
        began = time.monotonic()
        assert client.ask("PULL", queue=door.queue, timeout=60) == {"ok": True, "job": None}
        return time.monotonic() - began

    assert 0.055 < second_try(wait, lambda took: took < 2) < 2
    assert client.ask("PULLB", queue=door.queue, count=3, timeout=20) == {"ok": True, "jobs": []}


def test_pull_wakes_up(door: Door, client: LineClient) -> None:
    """A push is delivered to the pull that waits for it."""
    waiting = door.client()
    waiting.send("PULL", queue=door.queue)
    assert waiting.silent()
    id = client.ok("PUSH", queue=door.queue, data="x")["id"]
    assert waiting.receive()["job"]["id"] == id


def test_pull_batch(door: Door, client: LineClient) -> None:
    """As many as there are, up to count, and never a wait for more than one."""
    ids = client.ok("PUSHB", queue=door.queue, jobs=[{"data": n} for n in range(5)])["ids"]
    first = client.ok("PULLB", queue=door.queue, count=3)["jobs"]
    assert [job["id"] for job in first] == ids[:3]
    assert [job["id"] for job in client.ok("PULLB", queue=door.queue, count=2**32 - 1)["jobs"]] == ids[3:]
    assert client.ok("PULLB", queue=door.queue, count=0) == {"jobs": []}


def test_pull_batch_is_clamped(door: Door, client: LineClient) -> None:
    """No answer holds more than 10,000 jobs, whatever was asked for."""
    for _ in range(2):
        client.ok("PUSHB", queue=door.queue, jobs=[{"data": 0}] * 5_001)
    jobs = client.ok("PULLB", queue=door.queue, count=20_000)["jobs"]
    assert len(jobs) == 10_000
    assert client.ok("ACKB", ids=[job["id"] for job in jobs]) == {"ids": [10_000]}
    assert len(client.ok("PULLB", queue=door.queue, count=20_000)["jobs"]) == 2


def test_waiting_batch_gets_what_is_there(door: Door, client: LineClient) -> None:
    """A parked PULLB is woken by the first job and takes what came with it."""
    waiting = door.client()
    waiting.send("PULLB", queue=door.queue, count=10)
    assert waiting.silent()
    ids = client.ok("PUSHB", queue=door.queue, jobs=[{"data": 0}] * 3)["ids"]
    assert [job["id"] for job in waiting.receive()["jobs"]] == ids


# --- PULLANY ---


def test_pull_any_takes_from_the_first_that_has_some(door: Door, client: LineClient) -> None:
    """The order of the queues is their priority; every delivery has its token, and all of them count."""
    low, high, empty = door.queue, door.name("queue"), door.name("queue")
    ids = client.ok("PUSHB", queue=low, jobs=[{"data": n} for n in range(3)])["ids"]
    ids += client.ok("PUSHB", queue=high, jobs=[{"data": n} for n in range(2)])["ids"]
    jobs = client.ok("PULLANY", queues=[empty, high, low, high], count=4)["jobs"]
    assert [job["id"] for job in jobs] == [ids[3], ids[4], ids[0], ids[1]]
    assert set(jobs[0]) == JOB_MEMBERS | {"token"}
    tokens = [job["token"] for job in jobs]
    assert client.ok("ACKB", ids=[job["id"] for job in jobs], tokens=tokens) == {"ids": [4], "stale": []}
    assert [job["id"] for job in client.ok("PULLANY", queues=[high, low])["jobs"]] == [ids[2]]
    assert client.ok("PULLANY", queues=[high, low], timeout=0) == {"jobs": []}
    assert client.ok("PULLANY", queues=[high, low], timeout=20) == {"jobs": []}


def test_pull_any_waits_in_all_queues_at_once(door: Door, client: LineClient) -> None:
    """Whichever has a job first serves it, once; those who came behind it in another line are served next."""
    one, two = door.queue, door.name("queue")
    waiting, other = door.client(), door.client()
    waiting.send("PULLANY", queues=[one, two], count=5, reqId="w")
    assert waiting.ask("PING") == {"ok": True}
    other.send("PULL", queue=one, reqId="o")
    assert other.ask("PING") == {"ok": True}
    first = client.ok("PUSH", queue=two, data=1)["id"]
    answer = waiting.receive()
    assert (answer["reqId"], [job["id"] for job in answer["jobs"]]) == ("w", [first])
    second = client.ok("PUSH", queue=one, data=2)["id"]
    assert other.receive()["job"]["id"] == second
    assert client.ok("STATS")["processing"] >= 2


@of_a_connection
def test_pull_any_is_ended_by_what_stands_behind_it(door: Door, client: LineClient) -> None:
    """Without reqId: further pulls wait behind it, any other command has it answered at once."""
    client.send("PULLANY", queues=[door.queue, door.name("queue")])
    client.send("PULL", queue=door.queue)
    client.send("PING")
    assert client.receive_many(3) == [{"ok": True, "jobs": []}, {"ok": True, "job": None}, {"ok": True}]


def test_pull_any_names_the_bad_name(door: Door, client: LineClient) -> None:
    """An impossible name refuses the pull; too many or no queues do as well."""
    error = "Invalid: queues[1]: Queue name cannot be empty"
    assert client.ask("PULLANY", queues=[door.queue, ""]) == {"ok": False, "error": error, "code": "bad_request"}
    for queues in ([], [f"q{n}" for n in range(101)]):
        assert client.ask("PULLANY", queues=queues)["code"] == "bad_request"


def test_pull_any_obeys_the_brakes(door: Door, client: LineClient) -> None:
    """A paused queue is passed over, and serves those who wait when it is resumed."""
    paused = door.name("queue")
    id = client.ok("PUSH", queue=paused, data=1)["id"]
    client.ok("PAUSE", queue=paused)
    assert client.ok("PULLANY", queues=[paused, door.queue], timeout=0) == {"jobs": []}
    waiting = door.client()
    waiting.send("PULLANY", queues=[door.queue, paused], reqId="w")
    assert waiting.ask("PING") == {"ok": True}
    client.ok("RESUME", queue=paused)
    assert [job["id"] for job in waiting.receive()["jobs"]] == [id]


# --- ACK, ACKB, FAIL ---


def test_ack(door: Door, client: LineClient) -> None:
    """The result is kept, the job is completed, and the same ack again is known."""
    id, token = active(client, door.queue)
    assert client.ask("ACK", id=id, token=token, result={"r": 1.50}) == {"ok": True}
    assert client.ask("ACK", id=id, token=token, result=2) == {"ok": True, "already": True}
    assert client.ok("GETRESULT", id=id) == {"id": id, "result": {"r": 1.5}}
    answer = client.ok("GETJOB", id=id)
    assert (answer["state"], answer["job"]["id"]) == ("completed", id)
    assert "token" not in answer["job"]


def test_ack_without_token_is_for_the_live_attempt(door: Door, client: LineClient) -> None:
    """Old clients know no tokens."""
    id, _ = active(client, door.queue)
    assert client.ok("ACK", id=id) == {}
    assert client.refused("ACK", id=id) == ("not_active", f"Job {id} not found")
    assert client.ok("GETRESULT", id=id) == {"id": id, "result": None}


def test_null_is_no_result(door: Door, client: LineClient) -> None:
    """A result of null is as if none had been given."""
    id, token = active(client, door.queue)
    client.ok("ACK", id=id, token=token, result=None)
    assert client.ok("GETRESULT", id=id)["result"] is None


def test_ack_batch(door: Door, client: LineClient) -> None:
    """One number; unknown ids are skipped; results are aligned."""
    client.ok("PUSHB", queue=door.queue, jobs=[{"data": 0}] * 3)
    jobs = client.ok("PULLB", queue=door.queue, count=3)["jobs"]
    ids = [job["id"] for job in jobs]
    answer = client.ok("ACKB", ids=[*ids, 2**53 - 1], results=["a", None, {"c": 1}, 4])
    assert answer == {"ids": [3]}
    assert [client.ok("GETRESULT", id=id)["result"] for id in ids] == ["a", None, {"c": 1}]
    assert client.ok("ACKB", ids=ids) == {"ids": [0]}
    assert client.ok("ACKB", ids=[]) == {"ids": [0]}


def test_ack_batch_with_tokens(door: Door, client: LineClient) -> None:
    """Tokens that are not the live attempt's are told apart; the same id twice counts once."""
    one, token = active(client, door.queue, backoff=0)
    client.ok("FAIL", id=one, token=token)
    fresh = pulled(client, door.queue)["token"]
    two, other = active(client, door.queue)
    answer = client.ok("ACKB", ids=[one, two, two], tokens=[token, other, other])
    assert answer == {"ids": [1], "stale": [one]}
    assert client.ok("ACKB", ids=[one], tokens=[fresh]) == {"ids": [1], "stale": []}


@pytest.mark.parametrize("member", ["tokens", "results"])
def test_ack_batch_must_be_aligned(door: Door, client: LineClient, member: str) -> None:
    """A list that is too short could only be guessed at."""
    id, _ = active(client, door.queue)
    code, text = client.refused("ACKB", ids=[id], **{member: []})
    assert (code, text) == ("bad_request", f"Invalid: {member} has 0 members, ids has 1")
    assert client.ok("GETSTATE", id=id)["state"] == "active"


def test_fail_retries_and_then_buries(door: Door, client: LineClient) -> None:
    """An attempt that failed is counted, its error kept, and the last one leads to the dead letters."""
    id, token = active(client, door.queue, max_attempts=2, backoff=0)
    assert client.ask("FAIL", id=id, token=token, error="first") == {"ok": True}
    job = pulled(client, door.queue)
    assert (job["id"], job["attempts"], job["progress_msg"]) == (id, 1, "first")
    client.ok("FAIL", id=id, token=job["token"], error="second")
    assert client.ok("GETSTATE", id=id)["state"] == "failed"
    (letter,) = client.ok("DLQ", queue=door.queue)["jobs"]
    assert (letter["id"], letter["attempts"], letter["progress_msg"]) == (id, 2, "second")
    assert set(letter) == JOB_MEMBERS


def test_fail_waits_before_the_retry(door: Door, client: LineClient) -> None:
    """The first retry comes after the backoff, and not before."""
    id, token = active(client, door.queue, backoff=80)
    before = now_ms()
    client.ok("FAIL", id=id, token=token)
    # Who asks late finds that the backoff is over.
    assert client.ok("GETSTATE", id=id)["state"] == "delayed" or now_ms() >= before + 80
    job = client.ok("PULL", queue=door.queue, timeout=10_000)["job"]
    assert job["id"] == id
    assert job["started_at"] >= job["run_at"] >= before + 80


def test_fail_with_a_delay_of_its_own(door: Door, client: LineClient) -> None:
    """The delay replaces the backoff of this retry; the attempt is counted as ever."""
    id, token = active(client, door.queue, backoff=DAY_MS)
    before = now_ms()
    client.ok("FAIL", id=id, token=token, delay=50)
    job = client.ok("PULL", queue=door.queue, timeout=5_000)["job"]
    assert (job["id"], job["attempts"], job["backoff"]) == (id, 1, DAY_MS)
    assert job["run_at"] >= before + 50
    client.ok("FAIL", id=id, token=job["token"], delay=0)
    assert pulled(client, door.queue)["attempts"] == 2


def test_fail_for_good(door: Door, client: LineClient) -> None:
    """``dead`` leads to the dead letters although attempts are left."""
    id, token = active(client, door.queue, max_attempts=0)
    assert client.ask("FAIL", id=id, token=token, error="no use", dead=True) == {"ok": True}
    (letter,) = client.ok("DLQ", queue=door.queue)["jobs"]
    assert (letter["id"], letter["attempts"], letter["progress_msg"]) == (id, 1, "no use")


def test_release(door: Door, client: LineClient) -> None:
    """An attempt given up is not counted, its token is stale, and the job stands at the head of its line."""
    id, token = active(client, door.queue, max_attempts=1, unique_key="held")
    client.ok("PUSH", queue=door.queue, data=None)
    assert client.ask("RELEASE", id=id, token=token) == {"ok": True}
    assert client.refused("ACK", id=id, token=token)[0] == "stale_attempt"
    assert client.refused("PUSH", queue=door.queue, data=0, unique_key="held")[0] == "duplicate"
    job = pulled(client, door.queue)
    assert (job["id"], job["attempts"]) == (id, 0)


def test_release_for_later(door: Door, client: LineClient) -> None:
    """With a delay the job is put off for so long, and its slot is free at once."""
    client.ok("SETCONCURRENCY", queue=door.queue, limit=1)
    id, token = active(client, door.queue)
    other = client.ok("PUSH", queue=door.queue, data=None)["id"]
    client.ok("RELEASE", id=id, token=token, delay=DAY_MS)
    assert client.ok("GETSTATE", id=id)["state"] == "delayed"
    next_one = pulled(client, door.queue)
    assert next_one["id"] == other
    before = now_ms()
    client.ok("RELEASE", id=other, token=next_one["token"], delay=80)
    job = client.ok("PULL", queue=door.queue, timeout=10_000)["job"]
    assert (job["id"], job["attempts"]) == (other, 0)
    assert job["started_at"] >= job["run_at"] >= before + 80


def test_stale_attempts(door: Door, client: LineClient) -> None:
    """Whoever holds an old token can change nothing."""
    id, old = active(client, door.queue, backoff=0)
    client.ok("FAIL", id=id, token=old)
    fresh = pulled(client, door.queue)["token"]
    stale = ("stale_attempt", f"Stale attempt for job {id}")
    for token in (old, "nonsense", ""):
        for cmd in ("ACK", "FAIL", "RELEASE", "HEARTBEAT"):
            assert client.refused(cmd, id=id, token=token) == stale
        assert client.refused("PROGRESS", id=id, progress=1, token=token) == stale
    assert client.ok("GETSTATE", id=id)["state"] == "active"
    client.ok("ACK", id=id, token=fresh)


def test_ack_over_another_connection(door: Door, client: LineClient) -> None:
    """An attempt belongs to its token and not to a connection."""
    id, token = active(client, door.queue)
    assert door.client().ok("ACK", id=id, token=token) == {}


UNKNOWN_JOB = 2**53 - 1


@pytest.mark.parametrize(
    ("cmd", "members", "code", "text"),
    [
        ("ACK", {}, "not_found", "Job {} not found"),
        ("FAIL", {}, "not_found", "Job {} not found"),
        ("RELEASE", {"delay": 5}, "not_found", "Job {} not found"),
        ("CANCEL", {}, "not_found", "Job {} not found"),
        ("GETPROGRESS", {}, "not_found", "Job {} not found"),
        ("HEARTBEAT", {}, "not_found", "Job {} not found"),
        ("PROGRESS", {"progress": 1}, "not_active", "Job {} not found in processing"),
    ],
)
def test_a_job_that_is_not_there(client: LineClient, cmd: str, members: dict[str, int], code: str, text: str) -> None:
    """Whoever names a job that never was is told so."""
    assert client.refused(cmd, id=UNKNOWN_JOB, **members) == (code, text.format(UNKNOWN_JOB))
    assert client.refused(cmd, id=0, **members) == (code, text.format(0))


@pytest.mark.parametrize("cmd", ["ACK", "FAIL", "RELEASE"])
def test_a_job_that_is_not_active(door: Door, client: LineClient, cmd: str) -> None:
    """The text is that of a missing job, for old clients; the code tells the truth."""
    id = client.ok("PUSH", queue=door.queue, data=0)["id"]
    assert client.refused(cmd, id=id) == ("not_active", f"Job {id} not found")


def test_progress_of_a_job_that_is_not_active(door: Door, client: LineClient) -> None:
    """Only who works can get further."""
    id = client.ok("PUSH", queue=door.queue, data=0)["id"]
    assert client.refused("PROGRESS", id=id, progress=5) == ("not_active", f"Job {id} not found in processing")


# --- WAITJOB ---


def ended(id: int, state: str, result: Any = None, error: str | None = None) -> Answer:
    """What WAITJOB says of a job."""
    return {"id": id, "state": state, "result": result, "error": error}


def test_waitjob_answers_at_once_what_is_over(door: Door, client: LineClient) -> None:
    """A completed job with its result, a dead letter with its error, an unknown job."""
    id, token = active(client, door.queue)
    client.ok("ACK", id=id, token=token, result={"n": 1})
    assert client.ok("WAITJOB", id=id) == ended(id, "completed", {"n": 1})
    id = dead(client, door.queue, "boom")
    assert client.ok("WAITJOB", id=id) == ended(id, "failed", None, "boom")
    assert client.ok("WAITJOB", id=2**53 - 1) == ended(2**53 - 1, "unknown")


def test_waitjob_tells_the_end_when_it_comes(door: Door, client: LineClient) -> None:
    """Several wait over one connection, with reqId, and each hears of its own job; others are not held up."""
    waiting = door.client()
    first, token = active(client, door.queue)
    second = client.ok("PUSH", queue=door.queue, data=1, delay=DAY_MS)["id"]
    third, _ = active(client, door.queue, max_attempts=1)
    for id in (first, second, third):
        waiting.send("WAITJOB", id=id, reqId=str(id))
    assert waiting.ask("PING") == {"ok": True}
    client.ok("FAIL", id=third, error="boom")
    assert waiting.receive() == {"ok": True, "reqId": str(third), **ended(third, "failed", None, "boom")}
    client.ok("CANCEL", id=second)
    assert waiting.receive() == {"ok": True, "reqId": str(second), **ended(second, "unknown", None, "cancelled")}
    client.ok("ACK", id=first, token=token, result=[1])
    assert waiting.receive() == {"ok": True, "reqId": str(first), **ended(first, "completed", [1])}


@of_a_connection
def test_waitjob_tells_the_state_when_its_time_is_over(door: Door, client: LineClient) -> None:
    """At once for 0 ms, later for more; and at once when anything stands behind it without reqId, a pull included."""
    id = client.ok("PUSH", queue=door.queue, data=1)["id"]
    assert client.ok("WAITJOB", id=id, timeout=0) == ended(id, "waiting")
    assert client.ok("WAITJOB", id=id, timeout=20) == ended(id, "waiting")
    client.send("WAITJOB", id=id)
    client.send("PULL", queue=door.queue)
    assert client.receive() == {"ok": True, **ended(id, "waiting")}
    assert client.receive()["job"]["id"] == id
    client.send("WAITJOB", id=id)
    client.send("WAITJOB", id=id, timeout=0)
    assert client.receive_many(2) == [{"ok": True, **ended(id, "active")}] * 2


def test_waitjob_outlives_a_retry(door: Door, client: LineClient) -> None:
    """A failed attempt is no end; the job may be waited for before it fails and ends after."""
    waiting = door.client()
    id, _ = active(client, door.queue, backoff=0)
    waiting.send("WAITJOB", id=id)
    client.ok("FAIL", id=id, error="once")
    assert pulled(client, door.queue)["id"] == id
    client.ok("ACK", id=id, result="twice")
    assert waiting.receive() == {"ok": True, **ended(id, "completed", "twice")}


# --- looking ---


def test_states(door: Door, client: LineClient) -> None:
    """Every state has its word, and a job that never was has one too."""
    queue = door.queue
    waiting = client.ok("PUSH", queue=queue, data=0, priority=-1)["id"]
    delayed = client.ok("PUSH", queue=queue, data=0, delay=DAY_MS)["id"]
    child = client.ok("PUSH", queue=queue, data=0, depends_on=[waiting])["id"]
    failed = dead(client, queue)
    running, _ = active(client, queue)
    done, token = active(client, queue)
    client.ok("ACK", id=done, token=token)
    expected = {
        waiting: "waiting", delayed: "delayed", child: "waiting-children", failed: "failed", running: "active",
        done: "completed", UNKNOWN_JOB: "unknown",
    }  # fmt: skip
    for id, state in expected.items():
        assert client.ok("GETSTATE", id=id) == {"id": id, "state": state}
        assert client.ok("GETJOB", id=id)["state"] == state


def test_unknown_jobs_are_null(client: LineClient) -> None:
    """Reading what is not there is no error."""
    assert client.ok("GETJOB", id=UNKNOWN_JOB) == {"job": None, "state": "unknown"}
    assert client.ok("GETRESULT", id=UNKNOWN_JOB) == {"id": UNKNOWN_JOB, "result": None}
    assert client.ok("GETJOBBYCUSTOMID", job_id="nobody") == {"job": None, "state": "unknown"}


def test_jobs_are_listed(door: Door, client: LineClient) -> None:
    """By queue and state, newest first, each as GETJOB has it with its state; pages follow each other to their end."""
    queue = door.queue
    delayed = client.ok("PUSH", queue=queue, data={"a": 1}, delay=DAY_MS, tags=["t"])["id"]
    failed = dead(client, queue)
    running, token = active(client, queue)
    done, done_token = active(client, queue)
    client.ok("ACK", id=done, token=done_token)
    waiting = client.ok("PUSH", queue=queue, data=0)["id"]
    child = client.ok("PUSH", queue=queue, data=0, depends_on=[waiting])["id"]
    states = {
        child: "waiting-children", waiting: "waiting", done: "completed", running: "active", failed: "failed",
        delayed: "delayed",
    }  # fmt: skip
    assert client.ok("LISTJOBS", queue=queue) == {
        "jobs": [{**client.ok("GETJOB", id=id)["job"], "state": state} for id, state in states.items()],
        "next": None,
    }
    for id, state in states.items():
        assert [job["id"] for job in client.ok("LISTJOBS", queue=queue, state=state)["jobs"]] == [id]
    found: list[int] = []
    cursor = None
    while not found or cursor is not None:
        page = client.ok("LISTJOBS", queue=queue, limit=2, cursor=cursor)
        found += [job["id"] for job in page["jobs"]]
        cursor = page["next"]
    assert found == list(states)
    client.ok("ACK", id=running, token=token)


def test_a_job_is_explained(door: Door, client: LineClient) -> None:
    """Why it is where it is, in each state, with every member."""
    queue = door.queue
    running, token = active(client, queue)
    failed = dead(client, queue, "no route")
    first, second = client.ok("PUSHB", queue=queue, jobs=[{"data": 1}, {"data": 2, "unique_key": "k"}])["ids"]
    child = client.ok("PUSH", queue=queue, data=0, depends_on=[first, failed])["id"]
    client.ok("SETCONCURRENCY", queue=queue, limit=1)

    def why(id: int) -> dict[str, Any]:
        found: dict[str, Any] = client.ok("EXPLAIN", id=id)["explain"]
        return found

    found = why(second)
    since = found["reasons"][2].pop("since_delivery_ms")
    assert 0 <= since < 60_000
    holder = {"id": running, "since": client.ok("GETJOB", id=running)["job"]["started_at"]}
    assert found == {
        "id": second, "queue": queue, "state": "waiting", "expires_at": None, "unique_key": "k", "at": found["at"],
        "reasons": [
            {"type": "concurrency", "limit": 1, "active": 1, "holders": [holder]},
            {"type": "ahead", "count": 1, "exact": True}, {"type": "no_worker", "active": 1},
        ],
        "estimated_start": found["estimated_start"], "estimate_basis": found["estimate_basis"],
    }  # fmt: skip
    parents = [{"id": failed, "state": "failed"}, {"id": first, "state": "waiting"}]
    assert why(child)["reasons"] == [{"type": "dependencies", "count": 2, "parents": parents}]
    letter = client.ok("GETJOB", id=failed)["job"]
    members = {"at": letter["run_at"], "attempts": 1, "max_attempts": 1, "error": "no route"}
    assert why(failed)["reasons"] == [{"type": "failed", **members}]
    assert {*why(running)["reasons"][0]} == {
        "type", "worker", "since", "deadline", "ends_by", "progress", "message",
    }  # fmt: skip
    client.ok("ACK", id=running, token=token)
    done = {"started_at": holder["since"], "attempts": 0, "result": False}
    assert why(running)["reasons"] == [{"type": "completed", **done}]
    client.ok("CANCEL", id=second)
    assert why(second)["reasons"] == [{"type": "gone", "dropped": True}]
    assert client.refused("EXPLAIN", id=UNKNOWN_JOB) == ("not_found", f"Job {UNKNOWN_JOB} not found")


def test_listing_refuses_what_cannot_be(client: LineClient) -> None:
    """Cursors that no page gave, and queues that cannot be."""
    assert client.refused("LISTJOBS", cursor="?") == (
        "bad_request", "Invalid: not a cursor of LISTJOBS - at `$.cursor`",
    )  # fmt: skip
    assert client.refused("LISTJOBS", queue="a b") == ("bad_request", BAD_NAME)


def test_progress(door: Door, client: LineClient) -> None:
    """Percent and message, for running and for finished jobs; more than all is all."""
    id, token = active(client, door.queue)
    assert client.ok("GETPROGRESS", id=id) == {"progress": {"id": id, "progress": 0, "message": None}}
    assert client.ask("PROGRESS", id=id, progress=40, message="half", token=token) == {"ok": True}
    assert client.ok("GETPROGRESS", id=id) == {"progress": {"id": id, "progress": 40, "message": "half"}}
    client.ok("PROGRESS", id=id, progress=255)
    assert client.ok("GETPROGRESS", id=id) == {"progress": {"id": id, "progress": 100, "message": "half"}}
    client.ok("ACK", id=id, token=token)
    assert client.ok("GETPROGRESS", id=id) == {"progress": {"id": id, "progress": 100, "message": "half"}}
    assert client.refused("PROGRESS", id=id, progress=256)[0] == "bad_request"


def test_heartbeat(door: Door, client: LineClient) -> None:
    """A living attempt may say so; a dead one may not."""
    id, token = active(client, door.queue)
    assert client.ask("HEARTBEAT", id=id, token=token) == {"ok": True}
    assert client.ask("HEARTBEAT", id=id) == {"ok": True}
    client.ok("ACK", id=id)
    assert client.refused("HEARTBEAT", id=id)[0] in ("not_active", "not_found")


# --- CANCEL ---


def test_cancel(door: Door, client: LineClient) -> None:
    """Whatever has not finished can be taken back, and is forgotten."""
    queue = door.queue
    running, token = active(client, queue)
    waiting = client.ok("PUSH", queue=queue, data=0)["id"]
    delayed = client.ok("PUSH", queue=queue, data=0, delay=DAY_MS)["id"]
    child = client.ok("PUSH", queue=queue, data=0, depends_on=[delayed])["id"]
    for id in (child, delayed, waiting, running):
        assert client.ask("CANCEL", id=id) == {"ok": True}
        assert client.ok("GETSTATE", id=id)["state"] == "unknown"
        assert client.refused("CANCEL", id=id) == ("not_found", f"Job {id} not found")
    assert client.ask("ACK", id=running, token=token)["error"] == f"Job {running} not found"


def test_cancel_of_a_finished_job(door: Door, client: LineClient) -> None:
    """What is over stays."""
    done, _ = active(client, door.queue)
    client.ok("ACK", id=done)
    for id in (done, dead(client, door.queue)):
        text = f"Job {id} cannot be cancelled (already completed/failed)"
        assert client.refused("CANCEL", id=id) == ("not_active", text)


def test_a_child_of_a_cancelled_parent_is_a_dead_letter(door: Door, client: LineClient) -> None:
    """A child whose parent can never complete does not wait for ever."""
    parent = client.ok("PUSH", queue=door.queue, data=0)["id"]
    child = client.ok("PUSH", queue=door.queue, data=0, depends_on=[parent])["id"]
    client.ok("CANCEL", id=parent)
    (letter,) = client.ok("DLQ", queue=door.queue)["jobs"]
    assert (letter["id"], letter["progress_msg"]) == (child, f"dependency {parent} cancelled")


def test_children_wait_for_all_parents(door: Door, client: LineClient) -> None:
    """A job runs when the last of those it depends on is done; one already done counts."""
    first, _ = active(client, door.queue)
    client.ok("ACK", id=first)
    second = client.ok("PUSH", queue=door.queue, data=0)["id"]
    child = client.ok("PUSH", queue=door.queue, data=0, depends_on=[first, second, second])["id"]
    assert client.ok("GETSTATE", id=child)["state"] == "waiting-children"
    assert pulled(client, door.queue)["id"] == second
    client.ok("ACK", id=second)
    job = pulled(client, door.queue)
    assert (job["id"], job["depends_on"]) == (child, [first, second, second])


# --- dead letters ---


def test_dead_letters(door: Door, client: LineClient) -> None:
    """Oldest first, as many as asked for; retried, they start from nothing."""
    queue = door.queue
    ids = [dead(client, queue, f"e{n}") for n in range(3)]
    assert [job["id"] for job in client.ok("DLQ", queue=queue)["jobs"]] == ids
    assert [job["id"] for job in client.ok("DLQ", queue=queue, count=2)["jobs"]] == ids[:2]
    assert [job["id"] for job in client.ok("DLQ", queue=queue, count=None)["jobs"]] == ids
    assert client.ok("DLQ", queue=queue, count=0) == {"jobs": []}
    assert client.ok("RETRYDLQ", queue=queue, id=ids[1]) == {"ids": [1]}
    assert client.ok("RETRYDLQ", queue=queue, id=ids[1]) == {"ids": [0]}
    job = pulled(client, queue)
    assert (job["id"], job["attempts"]) == (ids[1], 0)
    assert client.ok("RETRYDLQ", queue=queue) == {"ids": [2]}
    assert client.ok("DLQ", queue=queue) == {"jobs": []}


def test_purge_dead_letters(door: Door, client: LineClient) -> None:
    """Purged is gone, and counted."""
    ids = [dead(client, door.queue) for _ in range(2)]
    assert client.ok("PURGEDLQ", queue=door.queue) == {"count": 2}
    assert client.ok("PURGEDLQ", queue=door.queue) == {"count": 0}
    assert client.ok("GETSTATE", id=ids[0])["state"] == "unknown"


def test_dead_letters_of_a_queue_that_is_not_there(door: Door, client: LineClient) -> None:
    """Asking makes no queue."""
    assert client.ok("DLQ", queue=door.queue) == {"jobs": []}
    assert client.ok("RETRYDLQ", queue=door.queue) == {"ids": [0]}
    assert client.ok("PURGEDLQ", queue=door.queue) == {"count": 0}
    assert door.queue not in [queue["name"] for queue in client.ok("LISTQUEUES")["queues"]]


# --- the brakes of a queue ---


def queue_of(client: LineClient, name: str) -> Answer | None:
    """A queue as LISTQUEUES has it."""
    return next((queue for queue in client.ok("LISTQUEUES")["queues"] if queue["name"] == name), None)


def test_list_queues(door: Door, client: LineClient) -> None:
    """A queue is listed once it holds a job or a setting, with all its numbers."""
    queue = door.queue
    assert queue_of(client, queue) is None
    dead(client, queue)
    client.ok("PUSHB", queue=queue, jobs=[{"data": 0}] * 3 + [{"data": 0, "delay": DAY_MS}])
    client.ok("ACK", id=pulled(client, queue)["id"])
    pulled(client, queue)
    client.ok("RATELIMIT", queue=queue, limit=1_000)
    client.ok("SETCONCURRENCY", queue=queue, limit=50)
    client.ok("PAUSE", queue=queue)
    assert queue_of(client, queue) == {
        "name": queue, "pending": 2, "processing": 1, "delayed": 1, "dlq": 1, "completed": 1,
        "paused": True, "rate_limit": 1_000, "concurrency_limit": 50,
    }  # fmt: skip


def test_pause_and_resume(door: Door, client: LineClient) -> None:
    """Pause stops deliveries only; resume goes on with those who wait."""
    assert client.ask("PAUSE", queue=door.queue) == {"ok": True}
    id = client.ok("PUSH", queue=door.queue, data=0)["id"]
    assert client.ok("PULL", queue=door.queue, timeout=0) == {"job": None}
    waiting = door.client()
    waiting.send("PULL", queue=door.queue)
    assert waiting.silent()
    assert client.ask("RESUME", queue=door.queue) == {"ok": True}
    assert waiting.receive()["job"]["id"] == id


def test_rate_limit(door: Door, client: LineClient) -> None:
    """The bucket starts full, and each delivered job takes one."""
    assert client.ask("RATELIMIT", queue=door.queue, limit=2) == {"ok": True}
    client.ok("PUSHB", queue=door.queue, jobs=[{"data": 0}] * 5)
    began = time.monotonic()
    assert len(client.ok("PULLB", queue=door.queue, count=4)["jobs"]) == 2
    # Who asks late finds that half a second has brought one.
    assert client.ok("PULL", queue=door.queue, timeout=0) == {"job": None} or time.monotonic() - began >= 0.5
    assert client.ok("PULL", queue=door.queue, timeout=10_000)["job"] is not None
    assert client.ask("RATELIMITCLEAR", queue=door.queue) == {"ok": True}
    assert client.ok("PULL", queue=door.queue, timeout=0)["job"] is not None


def test_concurrency_limit(door: Door, client: LineClient) -> None:
    """At most so many attempts at once; the freed slot goes to the one who waits."""
    assert client.ask("SETCONCURRENCY", queue=door.queue, limit=1) == {"ok": True}
    client.ok("PUSHB", queue=door.queue, jobs=[{"data": 0}] * 3)
    job = pulled(client, door.queue)
    assert client.ok("PULL", queue=door.queue, timeout=0) == {"job": None}
    waiting = door.client()
    waiting.send("PULL", queue=door.queue)
    assert waiting.silent()
    client.ok("ACK", id=job["id"], token=job["token"])
    assert waiting.receive()["job"]["id"] == job["id"] + 1
    assert client.ask("CLEARCONCURRENCY", queue=door.queue) == {"ok": True}
    assert client.ok("PULL", queue=door.queue, timeout=0)["job"]["id"] == job["id"] + 2


@pytest.mark.parametrize("cmd", ["RATELIMIT", "SETCONCURRENCY"])
def test_a_limit_of_nothing(door: Door, client: LineClient, cmd: str) -> None:
    """To stop a queue there is PAUSE; a limit of 0 is refused and changes nothing."""
    code, text = client.refused(cmd, queue=door.queue, limit=0)
    assert code == "bad_request"
    assert text.startswith("Invalid: limit must be at least 1")
    assert queue_of(client, door.queue) is None


@pytest.mark.parametrize("cmd", ["RESUME", "RATELIMITCLEAR", "CLEARCONCURRENCY"])
def test_releasing_a_brake_that_is_not_there(door: Door, client: LineClient, cmd: str) -> None:
    """Nothing to release is fine and makes no queue."""
    assert client.ask(cmd, queue=door.queue) == {"ok": True}
    assert queue_of(client, door.queue) is None


# --- figures ---


def test_stats(door: Door, client: LineClient) -> None:
    """Every number counts what it says."""
    before = client.ok("STATS")
    dead(client, door.queue)
    client.ok("PUSHB", queue=door.queue, jobs=[{"data": 0}] * 4 + [{"data": 0, "delay": DAY_MS}])
    parent = pulled(client, door.queue)["id"]
    client.ok("PUSH", queue=door.queue, data=0, depends_on=[parent])
    client.ok("ACK", id=pulled(client, door.queue)["id"])
    after = client.ok("STATS")
    assert list(after) == ["queued", "processing", "delayed", "dlq", "completed", "waiting_children"]
    grown = {name: after[name] - before[name] for name in after}
    assert grown == {
        "queued": 2, "processing": 1, "delayed": 1, "dlq": 1, "completed": 1, "waiting_children": 1,
    }  # fmt: skip


def test_metrics(door: Door, client: LineClient) -> None:
    """Totals grow with what happens, and the queue has its row."""
    before = client.ok("METRICS")["metrics"]
    id, _ = active(client, door.queue)
    client.ok("ACK", id=id)
    dead(client, door.queue)
    client.ok("PUSH", queue=door.queue, data=0, delay=DAY_MS)
    client.ok("RATELIMIT", queue=door.queue, limit=7)
    metrics = client.ok("METRICS")["metrics"]
    assert set(metrics) == {
        "total_pushed", "total_completed", "total_failed", "jobs_per_second", "avg_latency_ms", "queues",
    }  # fmt: skip
    grown = [metrics[name] - before[name] for name in ("total_pushed", "total_completed", "total_failed")]
    assert grown == [3, 1, 1]
    assert isinstance(metrics["jobs_per_second"], float)
    assert metrics["jobs_per_second"] > 0
    assert metrics["avg_latency_ms"] >= 0
    (row,) = [row for row in metrics["queues"] if row["name"] == door.queue]
    assert row == {"name": door.queue, "pending": 1, "processing": 0, "dlq": 1, "rate_limit": 7}


# --- schedules ---


def crons_named(client: LineClient, name: str) -> list[Answer]:
    """The schedules of that name: one or none."""
    return [cron for cron in client.ok("CRONLIST")["crons"] if cron["name"] == name]


def test_cron(door: Door, client: LineClient) -> None:
    """A schedule is set, replaced, listed with all its members, and deleted."""
    name = door.name("cron")
    assert client.ask("CRON", name=name, queue=door.queue, schedule="0 0 4 * * *") == {"ok": True}
    (cron,) = crons_named(client, name)
    assert cron.pop("next_run") > now_ms()
    assert cron == {
        "name": name, "queue": door.queue, "data": None, "schedule": "0 0 4 * * *", "priority": 0,
        "timezone": "UTC", "last_run": None, "timeout": None, "ttl": None, "backoff": None, "max_attempts": None,
        "unique_key": None, "tags": [],
    }  # fmt: skip
    said = {
        "queue": door.queue, "schedule": "*/7 * * * MON-FRI", "data": [1.50], "priority": 3, "timeout": 5, "ttl": 6,
        "backoff": 0, "max_attempts": 8, "unique_key": "k", "tags": ["a", "b"],
    }  # fmt: skip
    client.ok("CRON", name=name, timezone="Europe/Berlin", **said)
    (cron,) = crons_named(client, name)
    assert {key: cron[key] for key in said} == said
    assert cron["timezone"] == "Europe/Berlin"
    assert client.ask("CRONDELETE", name=name) == {"ok": True}
    assert crons_named(client, name) == []
    assert client.refused("CRONDELETE", name=name) == ("not_found", "Cron job not found")


def test_cron_fires(door: Door, client: LineClient) -> None:
    """A schedule of every second pushes a job with its payload, within 50 ms of the second."""
    name = door.name("cron")
    client.ok("CRON", name=name, queue=door.queue, schedule="*/1", data={"tick": True}, priority=2)

    def late() -> int:
        job = client.ok("PULL", queue=door.queue, timeout=10_000)["job"]
        assert (job["data"], job["priority"]) == ({"tick": True}, 2)
        return int(job["created_at"] % 1_000)

    late_ms = second_try(late, lambda ms: ms < 500)
    client.ok("CRONDELETE", name=name)
    assert late_ms < 500


def test_webhooks(door: Door, client: LineClient) -> None:
    """They are registered, listed member for member without their secrets, and removed."""
    before = now_ms()
    said = {"url": f"https://example.org/{door.queue}", "queue": door.queue}
    id = client.ok("WEBHOOK", events=["failed", "completed"], secret="hush", **said)["id"]
    other = client.ok("WEBHOOK", events=["*"], url=said["url"])["id"]
    shown = {hook["id"]: hook for hook in client.ok("WEBHOOKLIST")["webhooks"]}
    assert before <= shown[id].pop("created_at") <= now_ms()
    counts = {"pending": 0, "delivered": 0, "failed": 0, "dropped": 0, "last_error": None}
    assert shown[id] == {"id": id, "events": ["completed", "failed"], "has_secret": True, **said, **counts}
    assert (shown[other]["events"], shown[other]["queue"], shown[other]["has_secret"]) == (["*"], None, False)
    for each in (id, other):
        assert client.ask("WEBHOOKDELETE", id=each) == {"ok": True}
    assert client.refused("WEBHOOKDELETE", id=id) == ("not_found", "Webhook not found")
    assert not {id, other} & {hook["id"] for hook in client.ok("WEBHOOKLIST")["webhooks"]}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"url": "http://127.0.0.1/"}, "Invalid: the URL names an address that is not public - at `$.url`"),
        ({"url": "example.org"}, "Invalid: the URL must begin with http:// or https:// - at `$.url`"),
        ({"events": ["exploded"]}, "Invalid: unknown event type 'exploded' - at `$.events`"),
        ({"events": []}, "Invalid: Expected `array` of length >= 1 - at `$.events`"),
        ({"secret": ""}, "Invalid: Expected `str` of length >= 1 - at `$.secret`"),
        ({"queue": "a b"}, BAD_NAME),
    ],
)
def test_bad_webhooks(door: Door, client: LineClient, members: dict[str, object], text: str) -> None:
    """What is wrong is said, and nothing was registered."""
    url = f"https://example.org/{door.queue}"
    assert client.refused("WEBHOOK", **{"url": url, "events": ["*"], **members}) == ("bad_request", text)
    assert url not in {hook["url"] for hook in client.ok("WEBHOOKLIST")["webhooks"]}


def test_cron_gives_its_jobs_what_it_was_set_with(door: Door, client: LineClient) -> None:
    """All members arrive with the job, and while that one lives nothing more is pushed."""
    name = door.name("cron")
    given = {"timeout": 50_000, "ttl": 60_000, "backoff": 7, "max_attempts": 8, "unique_key": "k", "tags": ["t"]}
    client.ok("CRON", name=name, queue=door.queue, schedule="*/1", **given)
    job = client.ok("PULL", queue=door.queue, timeout=10_000)["job"]
    assert {member: job[member] for member in given} == given
    assert client.ok("PULL", queue=door.queue, timeout=1_100)["job"] is None
    client.ok("ACK", id=job["id"])
    again = client.ok("PULL", queue=door.queue, timeout=10_000)["job"]
    client.ok("CRONDELETE", name=name)
    assert again["id"] > job["id"]


LONG_SCHEDULE = "0" * 257


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (LONG_SCHEDULE, "Cron schedule too long (257 chars, max 256 chars)"),
        ("*/0", "Invalid interval format: */0"),
        ("*/99999999999999999999", "Invalid interval format: */99999999999999999999"),
        ("61 * * * * *", "Invalid cron expression '61 * * * * *': "),
        ("whenever", "Invalid cron expression 'whenever': "),
        ("", "Invalid cron expression '': "),
    ],
)
def test_bad_schedules(door: Door, client: LineClient, schedule: str, text: str) -> None:
    """What is wrong with a schedule is said, and nothing was set."""
    name = door.name("cron")
    code, said = client.refused("CRON", name=name, queue=door.queue, schedule=schedule)
    assert code == "bad_request"
    assert said.startswith(text)
    assert crons_named(client, name) == []


def test_unknown_time_zone(door: Door, client: LineClient) -> None:
    """A zone that nobody knows is refused."""
    code, _ = client.refused("CRON", name="z", queue=door.queue, schedule="* * * * *", timezone="Mars/Olympus")
    assert code == "bad_request"


# --- workers ---


def workers_named(client: LineClient, name: str) -> list[Answer]:
    """The workers of that name: one or none."""
    return [worker for worker in client.ok("WORKERS")["workers"] if worker["id"] == name]


def test_workers(door: Door, client: LineClient) -> None:
    """A worker says hello, works, is seen with all its members, and leaves; what it held goes back uncounted."""
    name = door.name("worker")
    before = now_ms()
    said = {"queues": [door.queue], "concurrency": 4, "host": "h", "pid": 123}
    assert client.ask("HELLO", worker=name, **said) == {"ok": True}
    client.ok("PUSHB", queue=door.queue, jobs=[{"data": 0, "max_attempts": 1}] * 3)
    jobs = client.ok("PULLB", queue=door.queue, count=3)["jobs"]
    client.ok("ACK", id=jobs[0]["id"], token=jobs[0]["token"])
    client.ok("FAIL", id=jobs[1]["id"], token=jobs[1]["token"])
    (worker,) = workers_named(client, name)
    assert worker.pop("last_heartbeat") >= before
    assert worker == {"id": name, **said, "active": 1, "processed": 2, "failed": 1}
    assert client.ask("BEAT", worker=name) == {"ok": True}
    assert client.ask("BYE", worker=name) == {"ok": True}
    assert workers_named(client, name) == []
    job = pulled(client, door.queue)
    assert (job["id"], job["attempts"]) == (jobs[2]["id"], 0)


def test_a_worker_that_missed_a_delivery(door: Door, client: LineClient) -> None:
    """Saying what it holds gives everything else back, uncounted; what it names goes on under its token."""
    name = door.name("worker")
    client.ok("HELLO", worker=name)
    client.ok("PUSHB", queue=door.queue, jobs=[{"data": n} for n in range(4)])
    kept, done, *lost = client.ok("PULLB", queue=door.queue, count=4)["jobs"]
    client.ok("ACK", id=done["id"], token=done["token"])
    holds = [[kept["id"], kept["token"]], [done["id"], done["token"]], [lost[0]["id"], "another"], [10**9, "none"]]
    assert client.ask("HELLO", worker=name, holds=holds) == {"ok": True}
    again = client.ok("PULLB", queue=door.queue, count=4)["jobs"]
    assert [(job["id"], job["attempts"]) for job in again] == [(job["id"], 0) for job in lost]
    assert client.refused("ACK", id=lost[0]["id"], token=lost[0]["token"])[0] == "stale_attempt"
    client.ok("ACK", id=kept["id"], token=kept["token"])
    assert client.ask("HELLO", worker=name, holds=[]) == {"ok": True}
    assert [job["id"] for job in client.ok("PULLB", queue=door.queue, count=4)["jobs"]] == [job["id"] for job in lost]


@pytest.mark.parametrize("holds", [1, [1], [[1]], [[1, None]], [["1", "t"]], [[-1, "t"]]])
def test_holds_are_pairs(client: LineClient, door: Door, holds: object) -> None:
    """Anything else is refused, and registers nobody."""
    name = door.name("worker")
    assert client.refused("HELLO", worker=name, holds=holds)[0] == "bad_request"
    assert workers_named(client, name) == []


def test_a_worker_that_died(door: Door, client: LineClient) -> None:
    """A leave with an error ends what the worker held as failed, with that text."""
    name = door.name("worker")
    client.ok("HELLO", worker=name)
    id, _ = active(client, door.queue, max_attempts=1)
    assert client.ask("BYE", worker=name, error="killed by signal 9") == {"ok": True}
    assert workers_named(client, name) == []
    (letter,) = client.ok("DLQ", queue=door.queue)["jobs"]
    assert (letter["id"], letter["attempts"], letter["progress_msg"]) == (id, 1, "killed by signal 9")


@pytest.mark.parametrize("cmd", ["BEAT", "BYE"])
def test_a_worker_that_is_not_there(client: LineClient, cmd: str) -> None:
    """Whoever was given up is told, so that it says hello again."""
    assert client.refused(cmd, worker="nobody")[0] == "not_found"


def test_hello_with_defaults(door: Door, client: LineClient) -> None:
    """A name is enough."""
    name = door.name("worker")
    client.ok("HELLO", worker=name)
    (worker,) = workers_named(client, name)
    assert (worker["queues"], worker["concurrency"], worker["host"], worker["pid"]) == ([], 1, None, None)


def test_a_beat_that_waits_tells_what_was_ended(door: Door, client: LineClient) -> None:
    """A cancel is told at once, what happens between two BEATs by the next, and a worker that is gone is not found."""
    name = door.name("worker")
    worker = door.client()
    worker.ok("HELLO", worker=name)
    id, token = active(worker, door.queue)
    assert worker.ok("BEAT", worker=name) == {}
    assert worker.ok("BEAT", worker=name, wait=0) == {"ended": []}
    assert worker.ok("BEAT", worker=name, wait=20) == {"ended": []}
    worker.send("BEAT", worker=name, wait=10_000, reqId="b")
    assert worker.ask("PING") == {"ok": True}
    client.ok("CANCEL", id=id)
    ended = [{"id": id, "token": token, "reason": "cancelled"}]
    assert worker.receive() == {"ok": True, "reqId": "b", "ended": ended}
    id, token = active(worker, door.queue, timeout=20, max_attempts=1)
    assert client.ok("WAITJOB", id=id, timeout=10_000)["error"] == "Job timed out"
    ended = [{"id": id, "token": token, "reason": "Job timed out"}]
    assert worker.ok("BEAT", worker=name, wait=10_000) == {"ended": ended}
    worker.send("BEAT", worker=name, wait=10_000, reqId="b")
    worker.send("BEAT", worker=name, wait=10_000, reqId="c")
    assert worker.receive() == {"ok": True, "reqId": "b", "ended": []}
    client.ok("BYE", worker=name)
    gone = f"Worker '{name}' not found"
    assert worker.receive() == {"ok": False, "reqId": "c", "error": gone, "code": "not_found"}


# --- events ---


def events_of(client: LineClient, count: int) -> list[Answer]:
    """The next events, without their times."""
    events = []
    for answer in client.receive_many(count):
        assert set(answer) == {"event"}
        assert answer["event"].pop("timestamp") > 0
        events.append(answer["event"])
    return events


@of_a_connection
def test_events(door: Door, client: LineClient) -> None:
    """Everything that happens to the jobs of a queue is told, in order, with what belongs to it."""
    listener = door.client()
    assert listener.ask("SUBSCRIBE", queue=door.queue, events=[]) == {"ok": True}
    id, token = active(client, door.queue, max_attempts=2, backoff=0)
    client.ok("PROGRESS", id=id, progress=10, token=token)
    client.ok("FAIL", id=id, token=token, error="e1")
    client.ok("FAIL", id=id, token=pulled(client, door.queue)["token"], error="e2")
    client.ok("RETRYDLQ", queue=door.queue)
    client.ok("ACK", id=id, token=pulled(client, door.queue)["token"], result=[7])
    other = client.ok("PUSH", queue=door.queue, data={"d": 1})["id"]
    client.ok("CANCEL", id=other)
    expected = [
        ("pushed", id, {"data": None}),
        ("active", id, {}),
        ("progress", id, {"progress": 10}),
        ("retrying", id, {"error": "e1"}),
        ("active", id, {}),
        ("failed", id, {"error": "e2"}),
        ("active", id, {}),
        ("completed", id, {"data": [7]}),
        ("pushed", other, {"data": {"d": 1}}),
        ("cancelled", other, {}),
    ]
    assert events_of(listener, len(expected)) == [
        {"event_type": kind, "queue": door.queue, "job_id": job, **more} for kind, job, more in expected
    ]


@of_a_connection
def test_timeouts_and_expiries_are_told(door: Door, client: LineClient) -> None:
    """What the clock does is told as well."""
    listener = door.client()
    listener.ok("SUBSCRIBE", queue=door.queue, events=["timeout", "expired", "failed"])
    expired = client.ok("PUSH", queue=door.queue, data=0, ttl=20)["id"]
    assert events_of(listener, 1) == [{"event_type": "expired", "queue": door.queue, "job_id": expired}]
    late, _ = active(client, door.queue, timeout=20, max_attempts=1)
    told = events_of(listener, 2)
    assert [(event["event_type"], event["job_id"], event["error"]) for event in told] == [
        ("timeout", late, "Job timed out"),
        ("failed", late, "Job timed out"),
    ]


@of_a_connection
def test_subscriptions_are_of_this_connection_and_these_types(door: Door, client: LineClient) -> None:
    """Each listener hears what it asked for, once, and nothing after it unsubscribed."""
    choosy, everywhere = door.client(), door.client()
    choosy.ok("SUBSCRIBE", queue=door.queue, events=["completed"])
    everywhere.ok("SUBSCRIBE", queue="*", events=["completed", "pushed"])
    everywhere.ok("SUBSCRIBE", queue=door.queue, events=["completed"])
    id, token = active(client, door.queue)
    client.ok("ACK", id=id, token=token)
    mine = {"event_type": "completed", "queue": door.queue, "job_id": id}
    assert events_of(choosy, 1) == [mine]
    assert events_of(everywhere, 2) == [{**mine, "event_type": "pushed", "data": None}, mine]
    assert choosy.ask("UNSUBSCRIBE", queue=door.queue) == {"ok": True}
    everywhere.ok("UNSUBSCRIBE", queue=door.queue)
    client.ok("ACK", id=active(client, door.queue)[0])
    assert [event["event_type"] for event in events_of(everywhere, 2)] == ["pushed", "completed"]
    assert choosy.ask("PING") == {"ok": True}


@of_a_connection
def test_unsubscribing_from_what_was_never_subscribed(door: Door, client: LineClient) -> None:
    """Nothing to stop is fine."""
    assert client.ask("UNSUBSCRIBE", queue=door.queue) == {"ok": True}


def test_unknown_event_type(door: Door, client: LineClient) -> None:
    """A type that is never told would be waited for in vain."""
    code, text = client.refused("SUBSCRIBE", queue=door.queue, events=["done"])
    assert code == "bad_request"
    assert text.startswith("Invalid: unknown event type 'done'")


# --- AUTH and PING where no token is asked for ---


def test_ping(client: LineClient) -> None:
    """Somebody is there."""
    assert client.ask("PING") == {"ok": True}


def test_auth_where_nobody_asks(client: LineClient) -> None:
    """A client that always shows its token works with a server that wants none."""
    assert client.ask("AUTH", token="whatever") == {"ok": True}


# --- every command that names a queue, and every name ---

NAMING: dict[str, dict[str, Any]] = {
    "PUSH": {"data": 0}, "PUSHB": {"jobs": [{"data": 0}]}, "PULL": {"timeout": 0},
    "PULLB": {"count": 1, "timeout": 0}, "DLQ": {}, "RETRYDLQ": {}, "PURGEDLQ": {}, "SUBSCRIBE": {"events": []},
    "UNSUBSCRIBE": {}, "CRON": {"name": "n", "schedule": "0 0 1 1 *"}, "RATELIMIT": {"limit": 1},
    "RATELIMITCLEAR": {}, "SETCONCURRENCY": {"limit": 1}, "CLEARCONCURRENCY": {}, "PAUSE": {}, "RESUME": {},
}  # fmt: skip
"""Commands with a member ``queue``, and what else they need."""

BAD_NAMES = [
    ("", "Queue name cannot be empty"),
    ("q" * 257, "Queue name too long (max 256 chars)"),
    ("ü" * 129, "Queue name too long (max 256 chars)"),
    ("a b", BAD_NAME),
    ("a/b", BAD_NAME),
    ("a\n", BAD_NAME),
    ("a\u0000", BAD_NAME),
    ("**", BAD_NAME),
    ("..", BAD_NAME),
    ("<b>", BAD_NAME),
]


@pytest.mark.parametrize("cmd", NAMING)
def test_every_command_checks_the_name_of_its_queue(client: LineClient, cmd: str) -> None:
    """One rule and one sentence, whatever the command."""
    for name, text in BAD_NAMES:
        assert client.refused(cmd, queue=name, **NAMING[cmd]) == ("bad_request", text), name


def test_hello_checks_the_names_of_its_queues(client: LineClient) -> None:
    """A worker cannot register for what cannot be."""
    assert client.refused("HELLO", worker="w", queues=["fine", "a b"]) == ("bad_request", BAD_NAME)


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "größe", "ключ", "队列", "q" * 256, "ü" * 128, "...", "१२"])
def test_good_names(client: LineClient, name: str) -> None:
    """Letters and digits of every script, underscore, hyphen and dot, up to 256 bytes."""
    id = client.ok("PUSH", queue=name, data=0)["id"]
    assert client.ok("GETJOB", id=id)["job"]["queue"] == name
    client.ok("CANCEL", id=id)


# --- sizes ---


def test_large_payload(door: Door, client: LineClient) -> None:
    """1 MiB is fine, one byte more is answered with both numbers, and the connection stays."""
    most = 1_048_576
    id = client.ok("PUSH", queue=door.queue, data="x" * (most - 2))["id"]
    assert len(client.ok("GETJOB", id=id)["job"]["data"]) == most - 2
    code, text = client.refused("PUSH", queue=door.queue, data="x" * (most - 1))
    assert (code, text) == ("too_large", f"Job data too large ({most + 1} bytes, max {most} bytes)")
    code, text = client.refused("PUSHB", queue=door.queue, jobs=[{"data": 1}, {"data": "x" * most}])
    assert code == "too_large"
    assert f"Job data too large ({most + 2} bytes, max {most} bytes)" in text
    assert "jobs[1]" in text
    client.ok("CANCEL", id=id)
    assert client.ok("PULL", queue=door.queue, timeout=0) == {"job": None}


def test_white_space_does_not_count(door: Door, client: LineClient) -> None:
    """The limit is on the compact JSON: blanks between its parts are not held against the client."""
    padded = b'{"cmd":"PUSH","queue":"%b","data":[' % door.queue.encode() + b" " * 1_100_000 + b"1]}"
    assert client.ask_raw(padded)["ok"] is True
    client.ok("ACK", id=pulled(client, door.queue)["id"])


def test_large_batches(door: Door, client: LineClient) -> None:
    """10,000 is fine, one more is too large."""
    text = "Batch too large (10001 jobs, max 10000)"
    assert client.refused("PUSHB", queue=door.queue, jobs=[{"data": 0}] * 10_001) == ("too_large", text)
    assert client.refused("ACKB", ids=[1] * 10_001) == ("too_large", text)
    ids = client.ok("PUSHB", queue=door.queue, jobs=[{"data": 0}] * 10_000)["ids"]
    assert len(ids) == 10_000
    client.ok("PULLB", queue=door.queue, count=10_000)
    assert client.ok("ACKB", ids=ids) == {"ids": [10_000]}


def test_large_result(door: Door, client: LineClient) -> None:
    """A result over its limit is refused, and the attempt goes on."""
    id, token = active(client, door.queue)
    code, text = client.refused("ACK", id=id, token=token, result="x" * 262_144)
    assert (code, text) == ("too_large", "Result too large (262146 bytes, max 262144 bytes)")
    client.ok("ACK", id=id, token=token, result="x" * 262_142)


def test_long_messages_are_cut(door: Door, client: LineClient) -> None:
    """An error of 8 KiB is kept, and a message of 1 KiB; more is cut between characters."""
    id, token = active(client, door.queue, max_attempts=1)
    client.ok("PROGRESS", id=id, progress=1, message="ü" * 1_000, token=token)
    assert client.ok("GETPROGRESS", id=id)["progress"]["message"] == "ü" * 512
    client.ok("FAIL", id=id, token=token, error="€" * 9_000)
    (letter,) = client.ok("DLQ", queue=door.queue)["jobs"]
    assert letter["progress_msg"] == "€" * (8_192 // 3)


# --- every member of every command, mistyped or missing ---

ID_COMMANDS = (
    "ACK",
    "FAIL",
    "RELEASE",
    "GETRESULT",
    "GETJOB",
    "GETSTATE",
    "EXPLAIN",
    "CANCEL",
    "PROGRESS",
    "GETPROGRESS",
    "HEARTBEAT",
    "HISTORY",
)
NUMBERS_WRONG: list[Any] = [1.0, "1", True, -1, 2**53, 1e300, [1], {}, None]
TEXTS_WRONG: list[Any] = [1, True, ["a"], {}, None]


def wrong(members: dict[str, Any], name: str, values: list[Any]) -> list[dict[str, Any]]:
    """The same members with one of them spoilt in every way, or missing."""
    return [{**members, name: value} for value in values] + [{k: v for k, v in members.items() if k != name}]


MISTYPED: list[tuple[str, list[dict[str, Any]]]] = [
    *((cmd, wrong({"id": 1, "progress": 1}, "id", NUMBERS_WRONG)) for cmd in ID_COMMANDS),
    *((cmd, wrong({**members, "queue": "q"}, "queue", TEXTS_WRONG)) for cmd, members in NAMING.items()),
    ("PROGRESS", wrong({"id": 1, "progress": 1}, "progress", [*NUMBERS_WRONG, 256])),
    ("PUSH", [{"queue": "q"}]),
    ("PUSH", [{"queue": "q", "data": 0, "priority": v} for v in (1.0, "1", None, 2**31, -(2**31) - 1, [])]),
    *(
        ("PUSH", [{"queue": "q", "data": 0, name: value} for value in (1.5, "1", -1, 2**64, [], False)])
        for name in ("delay", "ttl", "timeout", "max_attempts", "backoff")
    ),
    ("PUSH", [{"queue": "q", "data": 0, "max_attempts": 2**32}]),
    ("PUSH", [{"queue": "q", "data": 0, "delay": 10 * 365 * DAY_MS + 1}]),
    *(("PUSH", [{"queue": "q", "data": 0, name: v} for v in (1, [], "k" * 257)]) for name in ("unique_key", "job_id")),
    ("PUSH", [{"queue": "q", "data": 0, "depends_on": v} for v in (1, "1", [None], [1.0], ["1"], [-1], [1] * 10_001)]),
    ("PUSH", [{"queue": "q", "data": 0, "tags": v} for v in ("a", [1], [None], ["t" * 257], ["t"] * 101)]),
    ("PUSHB", wrong({"queue": "q", "jobs": []}, "jobs", [1, "x", {}, None, [1]])),
    ("PUSHFLOW", wrong({"jobs": [{"queue": "q", "data": 1}]}, "jobs", [1, "x", {}, None, [], [1], [{"data": 1}]])),
    ("PUSHFLOW", [{"jobs": [{"queue": "q", "data": 1, "after": v}]} for v in (1, ["1"], [-1], [2**32], [1] * 10_001)]),
    ("PUSH", [{"queue": "q", "data": 0, "collect": v} for v in (1, "true", None)]),
    ("PULLB", wrong({"queue": "q", "count": 1, "timeout": 0}, "count", [*NUMBERS_WRONG, 2**32])),
    ("WAITJOB", wrong({"id": 1}, "id", NUMBERS_WRONG)),
    ("WAITJOB", [{"id": 1, "timeout": v} for v in (1.5, "0", -1, [])]),
    ("PULLANY", wrong({"queues": ["q"]}, "queues", [1, "q", None, {}, [1], [None], [], ["q"] * 101])),
    ("PULLANY", [{"queues": ["q"], "count": v} for v in [*NUMBERS_WRONG, 2**32]]),
    ("PULL", [{"queue": "q", "timeout": v} for v in (1.5, "0", -1, [])]),
    ("ACKB", wrong({"ids": [1]}, "ids", [1, "1", None, {}, ["1"], [1.0], [-1], [None]])),
    ("ACKB", [{"ids": [1], "tokens": v} for v in ("t", [1], [None])]),
    ("ACKB", [{"ids": [1], "results": v} for v in ("t", 1, {})]),
    *(
        (cmd, [{"id": 1, "progress": 1, "token": v} for v in (1, [], True)])
        for cmd in ("ACK", "FAIL", "RELEASE", "HEARTBEAT", "PROGRESS")
    ),
    ("FAIL", [{"id": 1, "error": v} for v in (1, [], {})]),
    ("FAIL", [{"id": 1, "dead": v} for v in (1, "true", None)]),
    *((cmd, [{"id": 1, "delay": v} for v in (1.5, "1", -1, 10 * 365 * DAY_MS + 1)]) for cmd in ("FAIL", "RELEASE")),
    ("GETJOBBYCUSTOMID", wrong({"job_id": "x"}, "job_id", TEXTS_WRONG)),
    ("DLQ", [{"queue": "q", "count": v} for v in (1.0, "1", -1, 2**32)]),
    ("RETRYDLQ", [{"queue": "q", "id": v} for v in (1.0, "1", -1)]),
    ("LISTJOBS", [{"limit": v} for v in (0, -1, 1.0, "1", None, 2**32)]),
    ("LISTJOBS", [{"state": v} for v in (1, "", "gone", ["failed"])]),
    ("LISTJOBS", [{"cursor": v} for v in (1, "", "0", "x", "f" * 15)]),
    ("SUBSCRIBE", [{"queue": "q", "events": v} for v in ("pushed", [1], None, {})]),
    ("CRON", wrong({"name": "n", "queue": "q", "schedule": "* * * * *"}, "schedule", TEXTS_WRONG)),
    ("CRON", wrong({"name": "n", "queue": "q", "schedule": "* * * * *"}, "name", [*TEXTS_WRONG, "", "n" * 257])),
    ("CRON", [{"name": "n", "queue": "q", "schedule": "* * * * *", "priority": v} for v in (None, 1.0, "1", 2**31)]),
    *(
        ("CRON", [{"name": "n", "queue": "q", "schedule": "* * * * *", name: v} for v in (1.5, "1", -1, 2**64, [])])
        for name in ("timeout", "ttl", "backoff", "max_attempts")
    ),
    ("CRON", [{"name": "n", "queue": "q", "schedule": "* * * * *", "unique_key": v} for v in (1, [], "k" * 257)]),
    ("CRON", [{"name": "n", "queue": "q", "schedule": "* * * * *", "tags": v} for v in ("a", [1], ["t"] * 101)]),
    ("CRONDELETE", wrong({"name": "n"}, "name", TEXTS_WRONG)),
    ("WEBHOOK", wrong({"url": "https://a.example/", "events": ["*"]}, "url", [*TEXTS_WRONG, "", "u" * 2_049])),
    ("WEBHOOK", wrong({"url": "https://a.example/", "events": ["*"]}, "events", ["*", [1], None, {}, [], ["*"] * 101])),
    ("WEBHOOK", [{"url": "https://a.example/", "events": ["*"], "secret": v} for v in (1, "", [], "s" * 257)]),
    ("WEBHOOK", [{"url": "https://a.example/", "events": ["*"], "queue": v} for v in (1, [], {}, True)]),
    ("WEBHOOKDELETE", wrong({"id": "w"}, "id", TEXTS_WRONG)),
    ("RATELIMIT", wrong({"queue": "q", "limit": 1}, "limit", [*NUMBERS_WRONG, 2**32])),
    ("SETCONCURRENCY", wrong({"queue": "q", "limit": 1}, "limit", [*NUMBERS_WRONG, 2**32])),
    ("AUTH", wrong({"token": "t"}, "token", TEXTS_WRONG)),
    ("HELLO", wrong({"worker": "w"}, "worker", [*TEXTS_WRONG, "", "w" * 257])),
    ("HELLO", [{"worker": "w", "concurrency": v} for v in (-1, None, "1", 2**32)]),
    ("HELLO", [{"worker": "w", "queues": v} for v in ("q", None, [1])]),
    ("BEAT", [{"worker": "w", "wait": v} for v in (1.5, "0", -1, [])]),
    ("BEAT", wrong({"worker": "w"}, "worker", TEXTS_WRONG)),
    ("BYE", wrong({"worker": "w"}, "worker", TEXTS_WRONG)),
    ("BYE", [{"worker": "w", "error": v} for v in (1, [], True)]),
]  # fmt: skip


@pytest.mark.parametrize(("cmd", "variants"), MISTYPED, ids=[f"{n}-{cmd}" for n, (cmd, _) in enumerate(MISTYPED)])
def test_mistyped_members(client: LineClient, cmd: str, variants: list[dict[str, Any]]) -> None:
    """A member that is missing or of another type is refused, the sentence says what, and nothing happens."""
    for members in variants:
        answer = client.ask(cmd, **members)
        assert answer["ok"] is False, members
        assert answer["code"] == "bad_request", (members, answer)
        assert answer["error"].startswith("Invalid: "), (members, answer)
        assert set(answer) == {"ok", "error", "code"}


def test_no_history_is_kept_unasked(client: LineClient) -> None:
    """The refusal says how to get one."""
    refused = ("bad_request", "history is off: start the server with AUDIT=1")
    assert client.refused("HISTORY", id=1) == refused
    assert client.refused("AUDITLOG") == refused


def test_a_backup(client: LineClient, door: Door) -> None:
    """The answer names a file on the disk, and what comes behind it is carried out behind it; or it says what to do."""
    if client.ok("SETTINGS")["settings"]["storage"] != "sqlite":
        code, sentence = client.refused("BACKUP")
        assert code == "bad_request"
        assert "pg_dump" in sentence or "in memory only" in sentence
        return
    id = client.ok("PUSH", queue=door.queue, data="in the backup")["id"]
    client.send_raw(line("BACKUP") + line("GETSTATE", id=id))
    made = client.receive()["backup"]
    assert client.receive()["state"] == "waiting"
    path = Path(made.pop("path"))
    assert path.parent == door.server.data / "backups"
    assert made.pop("bytes") == path.stat().st_size
    assert made.pop("group") > 0
    assert made.pop("took_ms") >= 0
    assert made == {}
    reading = Reading(SqliteSource(path))
    for _, check in reading.checks():
        check()
    assert id in {job.id for job in reading.snapshot().rows()}
    reading.close()


def test_the_server_speaks_of_itself(client: LineClient, door: Door) -> None:
    """Where it listens, what keeps its jobs, and who it works with."""
    settings = client.ok("SETTINGS")["settings"]
    assert settings["port"] == door.server.port
    assert settings["storage"] in {"memory", "sqlite", "postgres"}
    assert settings["auth"] is False
    (node,) = client.ok("NODES")["nodes"]
    address = {"host": "127.0.0.1", "port": door.server.port}
    assert node == {"node_id": "standalone", **address, "is_leader": True, "state": "standalone"}


def test_every_command_is_tested_here() -> None:
    """A new command without a row in these tables would go untested."""
    listed = {cmd for cmd, _ in MISTYPED} | set(NAMING)
    plain = {"PING", "STATS", "METRICS", "CRONLIST", "WEBHOOKLIST", "LISTQUEUES", "WORKERS", "SETTINGS", "NODES"}
    plain |= {"AUDITLOG"}  # tests/integration/test_audit.py: most servers keep no history
    plain |= {"BACKUP"}  # above
    plain |= {"SHUTDOWN", "RESTART"}  # tests/integration/test_http.py: nothing else would be tested after them
    assert {command.name for command in COMMANDS.values()} == listed | plain
