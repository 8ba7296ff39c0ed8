"""Unit tests of `flashq.cli.explain`: a sentence for every reason."""

from typing import Any

import pytest

from flashq.cli.explain import sentences
from flashq.cli.show import moment
from flashq.reasons import (
    Ahead,
    AnyReason,
    Basis,
    Completed,
    Concurrency,
    Delayed,
    Dependencies,
    Explanation,
    Failed,
    Gone,
    Holder,
    NoWorker,
    Parent,
    Paused,
    RateLimited,
    Running,
    WorkersBusy,
)

AT = 1_700_000_000_000
SOON, LATER = moment(AT + 2_500), moment(AT + 60_000)

SAID: list[tuple[Any, str]] = [
    (Paused(), "the queue is paused; flashq queues resume emails"),
    (Delayed(AT + 2_500, False, 0, None), f"it may not run before {SOON}, in 2.5 s"),
    (
        Delayed(AT + 60_000, True, 1, "no route"),
        f"it has failed once (no route) and is tried again at {LATER}, in 60 s",
    ),
    (
        Delayed(AT - 5, True, 2, None),
        f"it has failed 2 times (nobody said why) and is tried again at {moment(AT - 5)}, in 0 ms",
    ),
    (RateLimited(5, 120), "the queue may deliver 5 a second, the next one in 120 ms"),
    (Concurrency(1, 1, [Holder(3, AT)]), "1 job of the queue run, and 1 may: 3"),
    (
        Concurrency(12, 13, [Holder(id, AT) for id in range(10)]),
        "13 jobs of the queue run, and 12 may: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more",
    ),
    (
        Dependencies(2, [Parent(1, "failed"), Parent(2, "active")]),
        "it waits for 2 jobs to complete: 1 (failed), 2 (active)",
    ),
    (Ahead(1, exact=True), "1 job goes first"),
    (Ahead(20_000, exact=False), "at least 20000 jobs go first"),
    (NoWorker(0, None), "nobody asks for jobs of the queue; none has been delivered since the server started"),
    (
        NoWorker(2, 61_234),
        "nobody asks for jobs of the queue, 2 jobs of it in somebody's hands; the last was delivered 61 s ago",
    ),
    (
        WorkersBusy(2, 8, 40),
        "no worker for the queue asks for a job now: there are 2, for 8 jobs at once; the last was delivered 40 ms ago",
    ),
    (
        Running("mail-1", AT, AT + 2_500, "silence", 40, "half"),
        f"it runs since {moment(AT)} by worker mail-1, 40 % done; unless something is heard of the worker, it ends at "
        f"{SOON}; half",
    ),
    (Running(None, AT, AT + 2_500, "timeout", 0, None), f"it runs since {moment(AT)}; its timeout ends it at {SOON}"),
    (
        Running(None, AT, AT + 2_500, "lease", 0, None),
        f"it runs since {moment(AT)}; unless something is heard of it, it ends at {SOON}",
    ),
    (
        Completed(AT, 0, result=True),
        f"it is done, by the attempt that began at {moment(AT)}; flashq jobs result 7",
    ),
    (Completed(AT, 2, result=False), f"it is done, by the attempt that began at {moment(AT)} after 2 that failed"),
    (
        Failed(AT, 3, 3, "no route"),
        f"it is a dead letter since {moment(AT)}, after 3 of 3 attempts: no route; flashq dlq retry emails --id 7",
    ),
    (
        Failed(AT, 0, 0, None),
        f"it is a dead letter since {moment(AT)}, after 0 attempts: nobody said why; flashq dlq retry emails --id 7",
    ),
    (Gone(dropped=True), "it is not remembered: it was cancelled, expired or purged"),
    (Gone(dropped=False), "it is not remembered: it completed, or left long ago"),
]


@pytest.mark.parametrize(("reason", "sentence"), SAID)
def test_each_reason_is_a_sentence(reason: AnyReason, sentence: str) -> None:
    """What is known is said, with the command that helps."""
    assert sentences(Explanation(7, "emails", "waiting", AT, [reason])) == [
        "job 7 in emails is waiting",
        f"- {sentence}",
    ]


def test_every_reason_has_its_sentence() -> None:
    """A new reason without a line here fails."""
    assert {type(reason) for reason, _ in SAID} == set(AnyReason.__args__)


def test_when_and_what_it_rests_on() -> None:
    """The estimate is never said without its numbers."""
    found = Explanation(7, "emails", "waiting", AT, [Ahead(12, exact=True)], AT + 9_000, "k", AT + 2_520)
    found.estimate_basis = Basis(13, 290, 58_000, 5)
    assert sentences(found)[2:] == [
        "it should start in about 2.52 s: it is number 13, 290 jobs were delivered in the last 58 s, 5 a second may be",
        f"it expires at {moment(AT + 9_000)} if it does not run by then",
        "it holds the unique key k",
    ]
    found.estimate_basis = Basis(3, 0, 0, 5)
    assert sentences(found)[2] == "it should start in about 2.52 s: it is number 3, 5 a second may be"


def test_a_job_whose_queue_is_forgotten() -> None:
    """Nothing is said of it."""
    assert sentences(Explanation(7, None, "unknown", AT, [Gone(dropped=True)]))[0] == "job 7 is unknown"
