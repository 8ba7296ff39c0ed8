"""What goes into a row comes out of it, and plain jobs come out of their rows as the batches they were."""

from msgspec import structs

from flashq.engine.records import (
    Actor,
    CronRow,
    Happened,
    JobRow,
    Operated,
    Pushed,
    QueueRow,
    WebhookRow,
    rows_of,
)
from flashq.model import DELAYED
from flashq.storage import rows

PLAIN = Pushed("mail", 1, 100, 5, 3, 1000, 0, 0, [b"1", b"2", b"3"])


def back(*jobs: JobRow) -> list[JobRow | Pushed]:
    """Jobs that went through rows."""
    return list(rows.jobs_of((tuple(rows.stored_job(job)) for job in jobs), lambda id: [(id + 1, b"x")]))


def test_a_job_comes_back() -> None:
    """Lists as lists, absent ones as absent, and what it collected is asked for."""
    job = JobRow(7, "q", DELAYED, 1, 2, 3, 4, 5, 6, 7, 8, 9, b"{}", "k", "c", [1, 2], ["ä"], collect=True)
    (found,) = back(job)
    assert found == structs.replace(job, inputs=[(8, b"x")])
    assert back(JobRow(8, "q", DELAYED, 1, 2, 3, 4, 5, 6, 7, 8, 9, b"{}")) == [
        JobRow(8, "q", DELAYED, 1, 2, 3, 4, 5, 6, 7, 8, 9, b"{}")
    ]


def test_plain_jobs_come_back_as_a_batch() -> None:
    """As long as their ids follow each other and nothing but the payload differs."""
    assert back(*rows_of(PLAIN)) == [PLAIN]
    first, second, third = rows_of(PLAIN)
    assert back(first, third) == [
        structs.replace(PLAIN, data=[b"1"]),
        structs.replace(PLAIN, first=3, data=[b"3"]),
    ]
    second.attempts = 1
    assert back(first, second, third) == [
        structs.replace(PLAIN, data=[b"1"]),
        second,
        structs.replace(PLAIN, first=3, data=[b"3"]),
    ]


def test_a_batch_has_a_bound() -> None:
    """A record does not grow with the table."""
    many = structs.replace(PLAIN, data=[b"1"] * 2_500)
    assert [len(run.data) for run in back(*rows_of(many)) if isinstance(run, Pushed)] == [1_000, 1_000, 500]


def test_everything_else_comes_back() -> None:
    """Queues, schedules, webhooks and both kinds of the trail."""
    queue = QueueRow("q", True, 1, 2, 3, 4, 5, 6, 7, 8)
    assert rows.queue_row(structs.astuple(queue)) == queue
    for tags in (None, [], ["ä", "b"]):
        cron = CronRow("c", "q", b"1", "@daily", 1, "UTC", 2, 3, 4, 5, 6, 7, "k", tags)
        assert rows.cron_row(rows.stored_cron(cron)) == cron
    webhook = WebhookRow("w", "https://x", ["pushed"], None, "s", 1)
    assert rows.webhook_row(rows.stored_webhook(webhook)) == webhook
    happened = Happened(1, "failed", "q", [1, 3, 9, 1], Actor("ada", "p", "tcp"), 2, "w", "boom")
    apart = [rows.happened_back(row) for row in rows.happened_rows(5, happened)]
    assert apart == [(5, structs.replace(happened, runs=[1, 3])), (6, structs.replace(happened, runs=[9, 1]))]
    operated = Operated(1, "PAUSE", Actor("ada"), "q", "{}")
    assert rows.operated_back(rows.operated_row(5, operated)) == (5, operated)
