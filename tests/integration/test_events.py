"""Events over a real connection: told only when true for good, and never at the cost of others."""

from pathlib import Path

import pytest
from tests.conformance.doors import Door
from tests.fakes.server_process import LineClient, ServerProcess

from flashq.protocol.limits import MAX_SUBSCRIPTIONS


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_what_was_told_stays_true(tmp_path: Path, times: int) -> None:
    """Whatever an event told is found again after the server was killed the moment it arrived."""
    server = ServerProcess(tmp_path)
    for kind in ("pushed", "completed", "failed", "cancelled") * times:
        with server.start(), server.client() as listener, server.client() as client:
            client.send("PUSH", queue="q", data=kind, max_attempts=1)
            job = client.receive()["id"]
            listener.ok("SUBSCRIBE", queue="q", events=[kind])
            if kind == "pushed":
                client.send("PUSH", queue="q", data="new")
            elif kind == "cancelled":
                client.send("CANCEL", id=job)
            else:
                client.ok("PULL", queue="q")
                client.send("ACK" if kind == "completed" else "FAIL", id=job)
            told = listener.receive()["event"]
            server.kill()
        assert told["event_type"] == kind
        with server.start(), server.client() as client:
            state = client.ok("GETSTATE", id=told["job_id"])["state"]
            expected = {"pushed": "waiting", "completed": "completed", "failed": "failed", "cancelled": "unknown"}
            assert state == expected[kind]
            for job in client.ok("PULLB", queue="q", count=100, timeout=0)["jobs"]:
                client.ok("ACK", id=job["id"])
            server.kill()


def test_a_delivery_is_told_only_when_the_job_stays(tmp_path: Path) -> None:
    """Nobody gets a job that a crash could still undo."""
    server = ServerProcess(tmp_path)
    for _ in range(5):
        with server.start(), server.client() as worker, server.client() as client:
            worker.send("PULL", queue="q")
            assert worker.silent()
            client.send("PUSH", queue="q", data=1)
            job = worker.receive()["job"]
            server.kill()
        with server.start(), server.client() as client:
            assert client.ok("GETSTATE", id=job["id"])["state"] == "waiting"
            again = client.ok("PULL", queue="q")["job"]
            assert again["id"] == job["id"]
            assert client.ok("ACK", id=job["id"], token=again["token"]) == {}
            server.kill()


def test_events_of_a_batch_come_in_its_order(door: Door, client: LineClient, queue: str) -> None:
    """One event a job, in the order of the batch, each once."""
    listener = door.client()
    listener.ok("SUBSCRIBE", queue=queue, events=[])
    ids = client.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(300)])["ids"]
    client.ok("PULLB", queue=queue, count=300)
    client.ok("ACKB", ids=ids)
    told = [answer["event"] for answer in listener.receive_many(900)]
    for kind, start in (("pushed", 0), ("active", 300), ("completed", 600)):
        assert [(event["event_type"], event["job_id"]) for event in told[start : start + 300]] == [
            (kind, id) for id in ids
        ]


def test_events_between_answers(client: LineClient, queue: str) -> None:
    """A connection that listens to itself gets its answers in order, and the events that they caused behind them."""
    client.ok("SUBSCRIBE", queue=queue, events=["pushed"])
    for n in range(50):
        client.send("PUSH", queue=queue, data=n)
    lines = client.receive_many(100)
    answers = [line["id"] for line in lines if "id" in line]
    events = [line["event"]["job_id"] for line in lines if "event" in line]
    assert answers == events == sorted(answers)
    for id in answers:
        assert lines.index({"ok": True, "id": id}) < [line.get("event", {}).get("job_id") for line in lines].index(id)


def test_a_listener_that_does_not_read_slows_nobody(door: Door, client: LineClient, queue: str) -> None:
    """Its events are dropped, and once it reads again it is told how many."""
    listener = door.client()
    listener.ok("SUBSCRIBE", queue=queue, events=["pushed"])
    payload = "x" * 100_000
    count = 200
    for _ in range(count):
        client.ok("PUSH", queue=queue, data=payload)
    heard, lagged = 0, 0
    while heard + lagged < count + 1:
        answer = listener.receive()
        if "lagged" in answer:
            lagged = answer["lagged"]
            assert lagged > 0
        else:
            heard += 1
        if listener.silent(0.2) and not lagged:
            client.ok("PUSH", queue=queue, data="the next one")
    assert heard + lagged == count + 1


def test_a_listener_that_is_gone_is_forgotten(door: Door, client: LineClient, queue: str) -> None:
    """Subscriptions end with their connection: more come, one after the other, than there may be at once."""
    each = MAX_SUBSCRIPTIONS // 10
    for _ in range(12):
        with door.server.client() as listener:
            for n in range(each):
                listener.send("SUBSCRIBE", queue=f"{queue}-{n}", events=[])
            assert all(answer["ok"] for answer in listener.receive_many(each))
    assert client.ok("SUBSCRIBE", queue=queue, events=[]) == {}


def test_too_many_subscriptions(door: Door, client: LineClient, queue: str) -> None:
    """The bound is over all connections; repeating one costs nothing, and what one gives up another may have."""
    for n in range(MAX_SUBSCRIPTIONS):
        client.send("SUBSCRIBE", queue=f"{queue}-{n}", events=[])
    assert all(answer["ok"] for answer in client.receive_many(MAX_SUBSCRIPTIONS))
    other = door.client()
    told = f"Too many subscriptions (max {MAX_SUBSCRIPTIONS})"
    assert other.refused("SUBSCRIBE", queue=queue) == ("limit_reached", told)
    client.ok("SUBSCRIBE", queue=f"{queue}-7", events=["pushed"])
    client.ok("UNSUBSCRIBE", queue=f"{queue}-7")
    assert other.ok("SUBSCRIBE", queue=queue) == {}


@pytest.mark.parametrize("how", ["half_close", "vanish"])
def test_a_listener_that_leaves_disturbs_nobody(door: Door, client: LineClient, queue: str, how: str) -> None:
    """Events for a connection that is just closing are dropped, not raised at whoever caused them."""
    for _ in range(20):
        listener = door.client()
        listener.ok("SUBSCRIBE", queue=queue, events=[])
        client.send_raw(b'{"cmd":"PUSH","queue":"%b","data":1}\n' % queue.encode() * 20)
        getattr(listener, how)()
        assert all(answer["ok"] for answer in client.receive_many(20))
    assert "Traceback" not in door.server.errors()
