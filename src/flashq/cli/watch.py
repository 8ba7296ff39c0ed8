"""``flashq ping``, ``stats``, ``metrics``, ``workers``, ``events``: how the server is, and what happens on it."""

import time
from typing import Final

import click
from msgspec import UNSET

from flashq.cli.reach import Nothing, Verb, Wishes
from flashq.cli.show import Column, Show, duration, members, moment, visible_json
from flashq.client import Event
from flashq.errors import CallTimeout

_WORKERS: Final[tuple[Column, ...]] = (
    ("worker", lambda one: one.id),
    ("queues", lambda one: one.queues),
    ("host", lambda one: one.host),
    ("pid", lambda one: one.pid),
    ("concurrency", lambda one: one.concurrency),
    ("active", lambda one: one.active),
    ("processed", lambda one: one.processed),
    ("failed", lambda one: one.failed),
    ("last heartbeat", lambda one: moment(one.last_heartbeat)),
)

_QUEUES: Final[tuple[Column, ...]] = (
    ("queue", lambda one: one.name),
    ("pending", lambda one: one.pending),
    ("processing", lambda one: one.processing),
    ("dead", lambda one: one.dlq),
    ("per second", lambda one: one.rate_limit),
)


@click.command(cls=Verb)
@click.pass_obj
def ping(wishes: Wishes) -> None:
    r"""Ask the server for a sign of life, and tell how long it took.

    \b
    Example:
      flashq ping && echo up
    """
    with wishes.client() as q:
        began = time.perf_counter()
        q.ping()
        took_ms = round((time.perf_counter() - began) * 1000, 3)
    wishes.show.done(f"ok, {took_ms} ms", ok=True, ms=took_ms)


@click.command(cls=Verb)
@click.pass_obj
def stats(wishes: Wishes) -> None:
    r"""How many jobs there are in each state, over all queues.

    \b
    Example:
      flashq stats --json | jq .queued
    """
    with wishes.client() as q:
        found = q.stats()
    wishes.show.facts(found, members(found))


@click.command(cls=Verb)
@click.pass_obj
def metrics(wishes: Wishes) -> None:
    r"""Totals, and rates over the last minute.

    \b
    Example:
      flashq metrics
    """
    with wishes.client() as q:
        found = q.metrics()
    wishes.show.facts(found, members(found, less=["queues"]))
    if not wishes.json:
        wishes.show.text("")
        wishes.show.listing(found.queues, _QUEUES, "no queues")


@click.command(cls=Verb)
@click.pass_obj
def workers(wishes: Wishes) -> None:
    r"""The workers that have named themselves and are alive.

    \b
    Example:
      flashq workers
    """
    with wishes.client() as q:
        found = q.workers()
    wishes.show.listing(found, _WORKERS, "no workers")


@click.command(cls=Verb)
@click.argument("queue", default="*")
@click.option(
    "--types",
    help="Only these, with commas between: pushed, active, completed, failed, retrying, progress, timeout, expired, "
    "cancelled.",
)
@click.option("--count", type=click.IntRange(1), help="Stop after so many.")
@click.option("--timeout", type=click.IntRange(1), help="Stop when nothing happens for so many ms.")
@click.pass_obj
def events(wishes: Wishes, queue: str, types: str | None, count: int | None, timeout: int | None) -> None:
    r"""Follow what happens to jobs, one line an event, until Ctrl-C.

    Without QUEUE, on all queues. With --json each line is a document of its own.

    \b
    Example:
      flashq events emails --types completed,failed
    """
    wanted = [word.strip() for word in (types or "").split(",") if word.strip()]
    with wishes.client() as q, q.subscribe(queue, wanted) as subscription:
        seen = 0
        while seen != count:
            try:
                event = subscription.next(timeout)
            except CallTimeout:
                raise Nothing(f"no event within {duration(timeout or 0)}") from None
            _show_event(wishes.show, event)
            seen += 1


def _show_event(show: Show, event: Event) -> None:
    if show.as_json:
        show.document(event)
        return
    parts = [moment(event.timestamp), f"{event.event_type:9}", event.queue, f"job {event.job_id}"]
    if event.progress is not None:
        parts.append(f"{event.progress} %")
    if event.error:
        parts.append(event.error)
    if event.payload is not UNSET:
        parts.append(visible_json(bytes(event.payload)))
    show.text("  ".join(parts))
