"""A checker that finds nothing proves nothing: each of its rules is broken once, on purpose."""

import pytest
from tests.crash.history import WENT_ON, Ack, Delivery, Entry, Fail, History, Push, untold, violations


def good() -> History:
    """A job that was pushed, delivered, acknowledged; and one whose push and whose ack were never answered."""
    return History(
        pushes=[Push("a", 1, 1, 2), Push("b", 1), Push("c", 1, 3, 2, "k")],
        deliveries=[
            Delivery(1, "a", "1.1.x", 3, 4),
            Delivery(2, "b", "1.2.x", 3, 4),
            Delivery(2, "b", "2.1.x", 8, 9),
            Delivery(3, "c", "2.2.x", 8, 9),
        ],
        acks=[
            Ack(1, "1.1.x", 5, "ok", 6),
            Ack(1, "1.1.x", 7, "already", 8),
            Ack(2, "1.2.x", 5),
            Ack(2, "1.2.x", 10, "stale", 11),
            Ack(2, "2.1.x", 10, "ok", 11),
            Ack(3, "2.2.x", 10, "ok", 11),
        ],
        most_active=5,
    )


def test_what_may_happen() -> None:
    """Answers that never came, repeats and refused repeats are all in order."""
    assert violations(good(), 5) == []
    assert good().acknowledged() == 3


@pytest.mark.parametrize(
    ("word", "planted"),
    [
        ("lost", History(pushes=[Push("z", 1, 9, 2)])),
        ("phantom", History(deliveries=[Delivery(9, "z", "1.9.x", 1, 2)])),
        ("phantom", History(pushes=[Push("z", 5)], deliveries=[Delivery(9, "z", "1.9.x", 1, 2)])),
        ("another id", History(deliveries=[Delivery(9, "a", "1.9.x", 3, 4)])),
        ("resurrected", History(deliveries=[Delivery(1, "a", "2.9.x", 7, 8)])),
        ("completed twice", History(acks=[Ack(1, "1.1.x", 5, "ok", 6)])),
        ("stale success", History(deliveries=[Delivery(2, "b", "2.9.x", 8, 9)])),
        (
            "one key",
            History(
                pushes=[Push("d", 3, 4, 4, "k")],
                deliveries=[Delivery(4, "d", "2.3.x", 8, 9)],
                acks=[Ack(4, "2.3.x", 9)],
            ),
        ),
        ("one push", History(pushes=[Push("a", 3, 7, 4)], acks=[Ack(7, "2.3.x", 9)])),
        (
            "one id",
            History(
                pushes=[Push("z", 1, 1, 2)],
                deliveries=[Delivery(1, "z", "1.9.x", 4, 6)],
                acks=[Ack(1, "1.9.x", 7)],
            ),
        ),
        ("over the limit", History(most_active=6)),
    ],
)
def test_what_may_not_happen(word: str, planted: History) -> None:
    """Each rule speaks up, and only that one."""
    found = violations(History.of_all([good(), planted]), 5)
    assert found
    assert all(sentence.startswith(word) for sentence in found), found


def entries(*events: str) -> list[Entry]:
    """A history of a job."""
    return [Entry(event, 0, None) for event in events]


def told() -> dict[int, list[Entry]]:
    """What a server tells of `good`, of a job that failed in between, and of one that never was."""
    went_on = Entry("active", 1, WENT_ON)
    return {
        1: entries("pushed", "active", "completed"),
        2: entries("pushed", "active", "restored", "active", "completed"),
        3: [*entries("pushed", "active", "failed", "retrying", "active", "restored"), went_on, *entries("completed")],
        9: [],
    }


def seen() -> History:
    """What the clients saw: one pull of job 3 was never answered."""
    return History.of_all([good(), History(fails=[Fail(3, "ok"), Fail(3, "stale")], unanswered=1)])


def test_the_jobs_that_can_be_asked_for() -> None:
    """A push without an answer gave no id."""
    unanswered = History(pushes=[Push("lost on its way", 1.0)])
    assert History.of_all([seen(), unanswered]).ids() == {1, 2, 3}


def test_a_history_that_is_right() -> None:
    """Restarts, retries and answers that never came leave no contradiction."""
    assert untold(seen(), told()) == []


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("pushed 0 times", {1: entries("active", "completed")}),
        ("pushed 2 times", {1: entries("pushed", "pushed", "active", "completed")}),
        ("completed 0 times", {1: entries("pushed", "active")}),
        ("completed 2 times", {1: entries("pushed", "active", "completed", "completed")}),
        ("2 deliveries, 1 in", {2: entries("pushed", "active", "restored", "completed")}),
        ("['ok', 'stale'] failures, 0 in", {3: entries("pushed", "active", "restored", "active", "completed")}),
        ("active twice", {2: entries("pushed", "active", "active", "completed")}),
        ("the completion is not the end", {1: entries("pushed", "active", "completed", "restored")}),
        ("the push is not the beginning", {1: entries("active", "pushed", "completed")}),
        ("history of a job that nobody has", {9: entries("pushed")}),
        (
            "deliveries that nobody asked for: 2, of 1",
            {1: entries("pushed", "active", "failed", "active", "completed")},
        ),
    ],
)
def test_a_history_that_is_wrong(word: str, wrong: dict[int, list[Entry]]) -> None:
    """Each rule speaks up."""
    found = untold(seen(), told() | wrong)
    assert any(sentence.startswith(word) for sentence in found), found
