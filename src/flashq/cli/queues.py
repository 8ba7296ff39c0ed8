"""``flashq queues ...``: what queues there are, and their brakes."""

from typing import Final

import click

from flashq.cli.reach import Noun, Wishes
from flashq.cli.show import Column

_LIMIT: Final = click.IntRange(1, 2**32 - 1)

_COLUMNS: Final[tuple[Column, ...]] = (
    ("queue", lambda one: one.name),
    ("pending", lambda one: one.pending),
    ("delayed", lambda one: one.delayed),
    ("processing", lambda one: one.processing),
    ("dead", lambda one: one.dlq),
    ("completed", lambda one: one.completed),
    ("paused", lambda one: one.paused),
    ("per second", lambda one: one.rate_limit),
    ("at once", lambda one: one.concurrency_limit),
)


@click.group(cls=Noun)
def queues() -> None:
    r"""List queues, stop them, slow them down.

    \b
    Example:
      flashq queues list
    """


@queues.command("list")
@click.pass_obj
def list_(wishes: Wishes) -> None:
    r"""All queues that hold a job or a setting. Pending counts the delayed ones too.

    \b
    Example:
      flashq queues list --json | jq '.[] | select(.dlq > 0).name'
    """
    with wishes.client() as q:
        found = q.queues()
    wishes.show.listing(found, _COLUMNS, "no queues")


@queues.command("pause")
@click.argument("queue")
@click.pass_obj
def pause(wishes: Wishes, queue: str) -> None:
    r"""Hand out no more jobs of QUEUE. Pushes and running jobs go on.

    \b
    Example:
      flashq queues pause emails
    """
    with wishes.client() as q:
        q.pause(queue)
    wishes.show.done(f"{queue} is paused")


@queues.command("resume")
@click.argument("queue")
@click.pass_obj
def resume(wishes: Wishes, queue: str) -> None:
    r"""Hand out jobs of QUEUE again.

    \b
    Example:
      flashq queues resume emails
    """
    with wishes.client() as q:
        q.resume(queue)
    wishes.show.done(f"{queue} goes on")


def _check_limit(limit: int | None, *, clear: bool) -> None:
    if (limit is None) != clear:
        raise click.UsageError("give either LIMIT or --clear")


@queues.command("rate-limit")
@click.argument("queue")
@click.argument("limit", type=_LIMIT, required=False)
@click.option("--clear", is_flag=True, help="Remove the limit.")
@click.pass_obj
def rate_limit(wishes: Wishes, queue: str, limit: int | None, *, clear: bool) -> None:
    r"""Hand out at most LIMIT jobs of QUEUE a second.

    \b
    Examples:
      flashq queues rate-limit emails 50
      flashq queues rate-limit emails --clear
    """
    _check_limit(limit, clear=clear)
    with wishes.client() as q:
        if limit is None:
            q.clear_rate_limit(queue)
        else:
            q.set_rate_limit(queue, limit)
    wishes.show.done(f"{queue}: no rate limit" if limit is None else f"{queue}: at most {limit} jobs a second")


@queues.command("concurrency")
@click.argument("queue")
@click.argument("limit", type=_LIMIT, required=False)
@click.option("--clear", is_flag=True, help="Remove the limit.")
@click.pass_obj
def concurrency(wishes: Wishes, queue: str, limit: int | None, *, clear: bool) -> None:
    r"""Let at most LIMIT jobs of QUEUE be in workers' hands at once.

    \b
    Examples:
      flashq queues concurrency emails 4
      flashq queues concurrency emails --clear
    """
    _check_limit(limit, clear=clear)
    with wishes.client() as q:
        if limit is None:
            q.clear_concurrency(queue)
        else:
            q.set_concurrency(queue, limit)
    wishes.show.done(f"{queue}: no concurrency limit" if limit is None else f"{queue}: at most {limit} jobs at once")
