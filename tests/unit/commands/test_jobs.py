"""Unit tests of `flashq.commands.jobs`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import decode
from tests.unit.commands.desk import Desk

from flashq.commands.jobs import OK, check_batch, marked
from flashq.engine.waiters import Waiter
from flashq.errors import BadRequest, Duplicate, FlashQError, NotActive, NotFound, Overloaded, StaleAttempt, TooLarge
from flashq.protocol.codec import encode, failure
from flashq.protocol.limits import MAX_BATCH
from flashq.protocol.replies import Pulled, PulledBatch


def test_a_refused_push_leaves_no_queue_behind(desk: Desk) -> None:
    """Queues are bounded: ten thousand failed pushes to as many names would leave no room for anybody."""
    known = desk.ask("PUSH", queue="q", data=1, job_id="j")["id"]
    with pytest.raises(BadRequest):
        desk.ask("PUSH", queue="new", data=1, depends_on=[99])
    with pytest.raises(BadRequest):
        desk.ask("PUSHB", queue="new", jobs=[{"data": 1, "depends_on": [99]}])
    assert desk.ask("PUSH", queue="new", data=1, job_id="j") == {"id": known, "replayed": True}
    assert desk.ask("PUSHB", queue="new", jobs=[{"data": 1, "job_id": "j"}]) == {"ids": [known], "replayed": [0]}
    assert desk.ask("PUSHB", queue="new", jobs=[]) == {"ids": []}
    assert desk.ask("PULL", queue="new", timeout=0) == {"job": None}
    assert desk.ask("PULLB", queue="new", count=0) == {"jobs": []}
    assert list(desk.engine.queues.by_name) == ["q"]


def test_a_push_beyond_the_memory_leaves_no_queue_behind() -> None:
    """The same when there is no room for jobs; what is there can still be worked off."""
    desk = Desk(max_bytes=2_000)
    desk.ask("PUSH", queue="q", data="x" * 1_500)
    with pytest.raises(Overloaded, match="max 2000"):
        desk.ask("PUSH", queue="new", data="x" * 500)
    with pytest.raises(Overloaded):
        desk.ask("PUSHB", queue="new", jobs=[{"data": "x" * 500}])
    assert list(desk.engine.queues.by_name) == ["q"]
    assert desk.ask("PULL", queue="q")["job"]["id"] == 1


def test_a_duplicate_names_the_job_that_holds_the_key(desk: Desk) -> None:
    """The error carries the id, for those who catch it."""
    id = desk.ask("PUSH", queue="q", data=1, unique_key="k")["id"]
    with pytest.raises(Duplicate, match="Duplicate job with key: k") as caught:
        desk.ask("PUSH", queue="q", data=2, unique_key="k")
    assert caught.value.id == id


@pytest.mark.parametrize("batch", [False, True])
def test_a_pull_that_wants_to_wait(desk: Desk, batch: bool) -> None:
    """It waits where, for how many and as long as it said, and knows what to say when nothing comes."""
    asked: dict[str, object] = {"cmd": "PULLB", "count": 7, "timeout": 50} if batch else {"cmd": "PULL"}
    token = desk.ask(queue="q", **asked)["parked"]  # type: ignore[arg-type]
    waiter = desk.engine.parking.calls[token]
    assert isinstance(waiter, Waiter)
    assert (waiter.queues, waiter.count) == (("q",), 7 if batch else 1)
    assert [due - desk.now.steady for due, _, _ in desk.engine.clocks.waits.entries()] == ([50] if batch else [])
    assert desk.parked[token].over() == (PulledBatch(jobs=[]) if batch else Pulled(job=None))
    assert desk.parked[token].in_line


def test_pull_batch_is_clamped(desk: Desk) -> None:
    """Nobody waits for, or gets, more than a batch."""
    for asked in ({"cmd": "PULLB", "queue": "q"}, {"cmd": "PULLANY", "queues": ["q"]}):
        waiter = desk.engine.parking.calls[desk.ask(count=2**32 - 1, **asked)["parked"]]  # type: ignore[arg-type]
        assert isinstance(waiter, Waiter)
        assert waiter.count == MAX_BATCH


def test_a_pull_of_any_queue(desk: Desk) -> None:
    """The order of the names is the priority; a name twice counts once; who asks for nothing is answered."""
    for queue in "ab":
        desk.ask("PUSHB", queue=queue, jobs=[{"data": queue}] * 2)
    pulled = desk.ask("PULLANY", queues=["none", "b", "a", "b"], count=3)["jobs"]
    assert [(job["queue"], job["id"]) for job in pulled] == [("b", 3), ("b", 4), ("a", 1)]
    assert desk.ask("PULLANY", queues=["none"], timeout=0) == {"jobs": []}
    assert desk.ask("PULLANY", queues=["none"], count=0) == {"jobs": []}
    waiter = desk.engine.parking.calls[desk.ask("PULLANY", queues=["c", "b", "c"])["parked"]]
    assert isinstance(waiter, Waiter)
    assert (waiter.queues, waiter.count) == (("c", "b"), 1)


def test_a_bad_name_among_several_is_named(desk: Desk) -> None:
    """The place stands in the error, and the good names before it have made no queue."""
    with pytest.raises(BadRequest, match=r"^Invalid: queues\[1\]: Queue name cannot be empty$"):
        desk.ask("PULLANY", queues=["good", ""])
    assert not desk.engine.queues.by_name


def test_waiting_for_a_job(desk: Desk) -> None:
    """Answered at once if it has ended or nobody wants to wait; parked otherwise, and nothing stands behind it."""
    ids = desk.ask("PUSHB", queue="q", jobs=[{"data": 1, "max_attempts": 1}] * 3)["ids"]
    desk.ask("PULLB", queue="q", count=2)
    desk.ask("ACK", id=ids[0], result=[1])
    desk.ask("FAIL", id=ids[1], error="boom")
    assert desk.ask("WAITJOB", id=ids[0]) == {"id": ids[0], "state": "completed", "result": [1], "error": None}
    assert desk.ask("WAITJOB", id=ids[1]) == {"id": ids[1], "state": "failed", "result": None, "error": "boom"}
    assert desk.ask("WAITJOB", id=9) == {"id": 9, "state": "unknown", "result": None, "error": None}
    waiting = {"id": ids[2], "state": "waiting", "result": None, "error": None}
    assert desk.ask("WAITJOB", id=ids[2], timeout=0) == waiting
    parked = desk.parked[token := desk.ask("WAITJOB", id=ids[2], timeout=50)["parked"]]
    assert decode(encode(parked.over())) == {"ok": True, **waiting}
    assert not parked.in_line
    desk.ask("CANCEL", id=ids[2])
    ((told, ending),) = desk.engine.outbox.take_deliveries()
    assert told == token
    assert decode(encode(parked.reply(ending))) == {
        "ok": True, "id": ids[2], "state": "unknown", "result": None, "error": "cancelled",
    }  # fmt: skip


def test_a_worker_that_was_lost_is_back_when_it_pulls(desk: Desk) -> None:
    """It was silent for too long and was given up; its next pull makes it known again."""
    desk.ask("HELLO", worker="w", concurrency=3)
    desk.ask("PUSH", queue="q", data=1)
    desk.pass_time(31_000)
    assert desk.ask("WORKERS") == {"workers": []}
    assert desk.ask("PULL", queue="q")["job"]["id"] == 1
    (worker,) = desk.ask("WORKERS")["workers"]
    assert (worker["id"], worker["concurrency"], worker["active"]) == ("w", 3, 1)


def test_the_attempts_of_a_lost_worker_fail(desk: Desk) -> None:
    """What a silent worker held is counted as failed and comes again."""
    desk.ask("HELLO", worker="w")
    desk.ask("PUSH", queue="q", data=1, backoff=0)
    desk.ask("PULL", queue="q")
    desk.pass_time(20_000)
    desk.ask("BEAT", worker="w")
    desk.pass_time(20_000)
    assert desk.ask("GETSTATE", id=1)["state"] == "active"
    desk.pass_time(11_000)
    desk.session.worker = None
    job = desk.ask("PULL", queue="q")["job"]
    assert (job["attempts"], job["progress_msg"]) == (1, "worker lost")


def test_ack_again_is_told_apart(desk: Desk) -> None:
    """The plain answer is shared by all; one that says more must not change it."""
    desk.ask("PUSH", queue="q", data=1)
    token = desk.ask("PULL", queue="q")["job"]["token"]
    assert desk.ask("ACK", id=1, token=token) == {}
    assert desk.ask("ACK", id=1, token=token) == {"already": True}
    assert encode(OK) == b'{"ok":true}'


def test_an_answer_with_a_mark_leaves_the_shared_one_alone() -> None:
    """Whoever asks with an id has it in the answer, and nobody else has."""
    assert encode(marked(OK, "a")) == b'{"ok":true,"reqId":"a"}'
    assert encode(marked(failure(NotFound("no")), "b")) == b'{"ok":false,"reqId":"b","error":"no","code":"not_found"}'
    assert marked(OK, None) is OK
    assert encode(OK) == b'{"ok":true}'


@pytest.mark.parametrize(
    ("cmd", "error"), [("ACK", NotActive), ("FAIL", NotActive), ("PROGRESS", NotActive), ("HEARTBEAT", FlashQError)]
)
def test_what_nobody_holds(desk: Desk, cmd: str, error: type[FlashQError]) -> None:
    """A waiting job has no attempt that could end."""
    desk.ask("PUSH", queue="q", data=1)
    with pytest.raises(error):
        desk.ask(cmd, id=1, progress=1)
    with pytest.raises(StaleAttempt):
        desk.ask("ACK", id=1, token="1.1.x")
    with pytest.raises(NotFound):
        desk.ask("CANCEL", id=2)


def test_results_in_a_batch(desk: Desk) -> None:
    """Null is no result, and one that is too large refuses the whole batch before anything is changed."""
    desk.ask("PUSHB", queue="q", jobs=[{"data": 1}] * 3)
    ids = [job["id"] for job in desk.ask("PULLB", queue="q", count=3)["jobs"]]
    with pytest.raises(TooLarge):
        desk.ask("ACKB", ids=ids, results=[1, 2, "x" * 300_000])
    assert desk.ask("STATS")["processing"] == 3
    assert desk.ask("ACKB", ids=ids, results=[None, False, 0]) == {"ids": [3]}
    assert [desk.ask("GETRESULT", id=id)["result"] for id in ids] == [None, False, 0]


def test_check_batch() -> None:
    """The limit itself is fine; the sentence has both numbers."""
    check_batch(MAX_BATCH, "jobs")
    with pytest.raises(TooLarge, match=rf"^Batch too large \({MAX_BATCH + 1} jobs, max {MAX_BATCH}\)$"):
        check_batch(MAX_BATCH + 1, "jobs")


SPEC = st.fixed_dictionaries(
    {"data": st.none() | st.integers() | st.text(max_size=5)},
    optional={
        "priority": st.integers(-3, 3),
        "delay": st.none() | st.integers(0, 50),
        "ttl": st.none() | st.integers(1, 1_000),
        "max_attempts": st.none() | st.integers(0, 3),
        "unique_key": st.none() | st.sampled_from("abc"),
        "depends_on": st.none() | st.lists(st.integers(-1, 6), max_size=2),
        "tags": st.none() | st.lists(st.text(max_size=3), max_size=2),
        "job_id": st.none() | st.sampled_from("xyz"),
    },
)


@given(st.lists(SPEC, max_size=6))
def test_a_batch_is_the_same_as_one_by_one(specs: list[dict[str, object]]) -> None:
    """Whatever the jobs say: a batch makes the same jobs as single pushes do, or is refused if one of them is."""
    singly, together = Desk(), Desk()
    ids: list[int] = []
    refused = False
    for spec in specs:
        try:
            ids.append(singly.ask("PUSH", queue="q", **spec)["id"])
        except Duplicate as error:
            ids.append(error.id)
        except BadRequest:
            refused = True
            break
    try:
        answer = together.ask("PUSHB", queue="q", jobs=specs)
    except BadRequest:
        # A batch may not depend on its own jobs: their ids are not known before it is taken in.
        assert refused or any(spec.get("depends_on") for spec in specs)
        assert together.ask("LISTQUEUES") == {"queues": []}
        return
    assert not refused
    assert answer["ids"] == ids
    assert together.ask("STATS") == singly.ask("STATS")
    for id in set(ids):
        assert together.ask("GETJOB", id=id) == singly.ask("GETJOB", id=id)


def test_a_refused_pull_brings_no_worker_back(desk: Desk) -> None:
    """A refused command changes nothing, also about who is there."""
    desk.ask("HELLO", worker="w")
    desk.pass_time(30_000)
    with pytest.raises(BadRequest, match="empty"):
        desk.ask("PULL", queue="", timeout=0)
    assert desk.ask("WORKERS") == {"workers": []}
    desk.ask("PULL", queue="q", timeout=0)
    assert [each["id"] for each in desk.ask("WORKERS")["workers"]] == ["w"]
