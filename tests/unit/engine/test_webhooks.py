"""Unit tests of `flashq.engine.webhooks`."""

import json
from typing import Any

import pytest
from msgspec import Raw
from tests.unit.engine.bench import START, Bench

from flashq.engine import webhooks
from flashq.engine.check import check
from flashq.engine.records import CallRow, CallsOver, CallsOwed, Completed, Pushed, WebhookDeleted
from flashq.engine.webhooks import Call
from flashq.errors import LimitReached, NotFound
from flashq.model import JobSpec

URL = "https://example.org/hook"


@pytest.fixture
def bench() -> Bench:
    """A bench at which nobody but webhooks listens."""
    bench = Bench()
    bench.engine.outbox.watched = False
    return bench


def add(bench: Bench, *events: str, queue: str | None = None, secret: str | None = None) -> str:
    """Register a webhook; returns its id."""
    id = bench.engine.webhooks.add(URL, list(events), queue, secret, bench.now.wall)
    bench.take()
    return id


def owed(bench: Bench) -> list[tuple[str, dict[str, Any]]]:
    """What is owed: to whom, and the body."""
    return [(call.webhook.row.id, json.loads(call.body)) for call in bench.engine.webhooks.owed.values()]


def told(bench: Bench) -> list[tuple[str, str, int]]:
    """What is owed in short: webhook, event, job."""
    return [(id, body["event"], body["job_id"]) for id, body in owed(bench)]


def test_without_webhooks_nothing_is_made(bench: Bench) -> None:
    """Neither events nor calls, before the first is there and after the last is gone."""
    bench.push()
    assert bench.events == []
    bench.engine.webhooks.delete(add(bench))
    bench.push()
    assert (bench.events, owed(bench), bench.engine.outbox.also) == ([], [], None)


def test_listeners_keep_the_events_when_the_last_webhook_goes(bench: Bench) -> None:
    """Webhooks and listeners want events independently of each other."""
    bench.engine.outbox.watch("listeners", True)
    bench.engine.webhooks.delete(add(bench))
    assert bench.engine.outbox.watched
    add(bench)
    bench.engine.outbox.watch("listeners", False)
    assert bench.engine.outbox.watched


def test_what_a_call_says(bench: Bench) -> None:
    """All members, null where there is nothing; progress only where it is told."""
    add(bench)
    id = bench.push(data=b'{"a":[1]}', max_attempts=1)
    job = bench.pull_one()
    bench.engine.control.progress(id, job.token, 40, None, bench.now)
    bench.fail(id, "boom")
    common = {"queue": "emails", "job_id": id, "timestamp": START.wall}
    assert [body for _, body in owed(bench)] == [
        {"event": "pushed", **common, "data": {"a": [1]}, "error": None},
        {"event": "active", **common, "data": None, "error": None},
        {"event": "progress", **common, "data": None, "error": None, "progress": 40},
        {"event": "failed", **common, "data": None, "error": "boom"},
    ]


def test_only_who_asked_is_told(bench: Bench) -> None:
    """By type, by queue, by both; no types are all types."""
    every, pushed = add(bench), add(bench, "pushed")
    mails, done = add(bench, queue="emails"), add(bench, "completed", queue="reports")
    bench.push("reports")
    bench.ack(bench.pull_one("reports").id)
    assert told(bench) == [
        (every, "pushed", 1), (pushed, "pushed", 1), (every, "active", 1), (every, "completed", 1),
        (done, "completed", 1),
    ]  # fmt: skip
    bench.push("emails")
    assert told(bench)[5:] == [(every, "pushed", 2), (pushed, "pushed", 2), (mails, "pushed", 2)]


def test_a_call_is_remembered_with_its_cause(bench: Bench) -> None:
    """In the records of one turn: neither can be lost without the other."""
    id = add(bench, "pushed", "completed")
    job = bench.push()
    bench.pull_one()
    bench.engine.settle.ack(job, None, b"7", bench.now)
    records = bench.engine.take_effects().records
    assert {type(record) for record in records} == {Completed, CallsOwed}
    (call,) = (record for record in records if isinstance(record, CallsOwed))
    assert (call.webhooks, json.loads(call.body)["data"]) == ([id], 7)


def test_pushes_around_a_call_are_not_merged_over_it(bench: Bench) -> None:
    """Records keep the order of what happened."""
    add(bench, "pushed")
    for _ in range(2):
        bench.engine.intake.push(bench.queue(), JobSpec(data=Raw(b"1")), b"1", bench.now)
    kinds = [type(record) for record in bench.engine.take_effects().records]
    assert sorted(kind.__name__ for kind in kinds) == ["CallsOwed", "CallsOwed", "Pushed", "Pushed"]
    assert kinds[0] is Pushed or kinds[1] is Pushed


def test_after_a_restart_everything_is_owed_that_was(bench: Bench) -> None:
    """With the same ids; what comes later has larger numbers."""
    add(bench, "pushed", queue="emails", secret="s")
    bench.push()
    bench.push()
    first, second = bench.engine.webhooks.owed.values()
    bench.engine.webhooks.delivered(first)
    bench.take()
    bench.restart()
    (again,) = bench.engine.webhooks.owed.values()
    assert (again.id, again.number, again.body) == (second.id, second.number, second.body)
    assert again.webhook.row == second.webhook.row
    bench.push()
    *_, third = bench.engine.webhooks.owed.values()
    assert third.number > second.number
    assert len({first.id, second.id, third.id}) == 3
    assert check(bench.engine) == []


def test_a_call_is_over_once(bench: Bench) -> None:
    """Delivered, given up or dropped: the first counts, and its body is let go."""
    add(bench)
    for _ in range(2):
        bench.push()
    one, two = bench.engine.webhooks.owed.values()
    hooks = bench.engine.webhooks
    hooks.delivered(one)
    hooks.give_up(one)
    hooks.give_up(two)
    hooks.delivered(two)
    assert (one.over, one.body, hooks.bytes, hooks.owed) == (True, b"", 0, {})
    (view,) = hooks.views()
    assert (view.pending, view.delivered, view.failed, view.dropped) == (0, 1, 1, 0)
    assert bench.engine.take_effects().records == [CallsOver([one.number]), CallsOver([two.number])]


@pytest.mark.parametrize(("bound", "value"), [("MAX_CALLS", 3), ("MAX_CALL_BYTES", 3 * 100 + 50)])
def test_the_oldest_makes_room(bench: Bench, monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    """Past either bound the newest stay, and what was dropped is counted, remembered and not made again."""
    monkeypatch.setattr(webhooks, bound, value)
    add(bench, "pushed")
    for _ in range(5):
        bench.push()
    assert [job for _, _, job in told(bench)] == [3, 4, 5]
    assert bench.engine.webhooks.views()[0].dropped == 2
    assert check(bench.engine) == []
    bench.restart()
    assert [job for _, _, job in told(bench)] == [3, 4, 5]


def test_a_call_larger_than_the_bound_is_not_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would push out all others and still be too large."""
    monkeypatch.setattr(webhooks, "MAX_CALL_BYTES", 50)
    add(bench, "pushed")
    bench.push()
    assert (owed(bench), bench.engine.webhooks.bytes) == ([], 0)
    assert bench.memory.calls == {}


def test_a_webhook_that_goes_takes_what_is_owed_to_it(bench: Bench) -> None:
    """With one record for all of it; what is owed to others stays."""
    gone, stays = add(bench), add(bench)
    bench.push()
    (call, _) = bench.engine.webhooks.owed.values()
    bench.engine.webhooks.delete(gone)
    assert told(bench) == [(stays, "pushed", 1)]
    bench.engine.webhooks.delivered(call)
    assert bench.engine.outbox.records == [WebhookDeleted(gone)]
    bench.take()
    bench.restart()
    assert told(bench) == [(stays, "pushed", 1)]
    with pytest.raises(NotFound, match=r"^Webhook not found$"):
        bench.engine.webhooks.delete(gone)


def test_there_may_be_so_many(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused, and changes nothing."""
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 2)
    first = add(bench)
    add(bench)
    with pytest.raises(LimitReached, match=r"^Too many webhooks \(max 2\)$"):
        add(bench)
    assert (len(bench.engine.webhooks.views()), bench.engine.outbox.records) == (2, [])
    bench.engine.webhooks.delete(first)
    add(bench)


def test_views_show_no_secret(bench: Bench) -> None:
    """Whether there is one is all that anybody is told."""
    id = add(bench, "failed", queue="emails", secret="hush")
    other = add(bench)
    first, second = sorted(bench.engine.webhooks.views(), key=lambda view: view.id != id)
    assert (first.url, first.events, first.queue, first.has_secret) == (URL, ["failed"], "emails", True)
    assert (second.id, second.events, second.queue, second.has_secret) == (other, ["*"], None, False)
    assert "hush" not in repr(first)


def test_the_check_finds_what_does_not_add_up(bench: Bench) -> None:
    """A size that is wrong, a call of nobody, a webhook that would not be shown events."""
    add(bench)
    bench.push()
    hooks = bench.engine.webhooks
    hooks.bytes += 1
    assert "bytes" in check(bench.engine)[0]
    hooks.bytes -= 1
    (webhook,) = hooks.by_id.values()
    webhook.owed += 1
    assert "calls" in check(bench.engine)[0]
    webhook.owed -= 1
    hooks.owed[5] = Call(5, webhooks.Webhook(webhook.row), b"")
    assert check(bench.engine)
    del hooks.owed[5]
    bench.engine.outbox.also = None
    assert "shown" in check(bench.engine)[0]


def test_rows_of_calls_are_what_storage_gives(bench: Bench) -> None:
    """The naive memory and the engine mean the same."""
    add(bench)
    bench.push()
    rows = [CallRow(call.number, call.webhook.row.id, call.body) for call in bench.engine.webhooks.owed.values()]
    assert rows == list(bench.memory.calls.values())
