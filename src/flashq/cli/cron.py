"""``flashq cron ...``: jobs that are pushed on a schedule."""

from typing import Final

import click
from msgspec import Raw

from flashq.cli.payloads import Json
from flashq.cli.reach import Noun, Wishes
from flashq.cli.show import Column, moment

_COLUMNS: Final[tuple[Column, ...]] = (
    ("name", lambda one: one.name),
    ("queue", lambda one: one.queue),
    ("schedule", lambda one: one.schedule),
    ("time zone", lambda one: one.timezone),
    ("next", lambda one: moment(one.next_run)),
    ("last", lambda one: moment(one.last_run)),
    ("priority", lambda one: one.priority),
)


@click.group(cls=Noun)
def cron() -> None:
    r"""Push jobs on a schedule.

    \b
    Example:
      flashq cron set nightly reports '0 3 * * *' --timezone Europe/Rome
    """


@cron.command("set")
@click.argument("name")
@click.argument("queue")
@click.argument("schedule")
@click.argument("data", type=Json(), required=False)
@click.option("--priority", type=click.IntRange(-(2**31), 2**31 - 1), default=0, help="Of its jobs; 0 unless said.")
@click.option("--timezone", help="In which SCHEDULE is read, as Europe/Rome; UTC unless said.")
@click.pass_obj
def set_(
    wishes: Wishes, name: str, queue: str, schedule: str, data: Raw | None, priority: int, timezone: str | None
) -> None:
    r"""Push DATA to QUEUE whenever SCHEDULE says so. The same NAME again replaces it.

    SCHEDULE is */N for every N seconds, five fields as in crontab, or six with seconds first.

    \b
    Examples:
      flashq cron set pulse health '*/30'
      flashq cron set nightly reports '0 3 * * MON-FRI' '{"kind": "daily"}' --timezone Europe/Rome
    """
    with wishes.client() as q:
        q.set_cron(name, queue, schedule, data, priority=priority, timezone=timezone)
        following = next((one.next_run for one in q.crons() if one.name == name), None)
    wishes.show.done(f"{name} runs next at {moment(following)}", name=name, next_run=following)


@cron.command("list")
@click.pass_obj
def list_(wishes: Wishes) -> None:
    r"""All schedules.

    \b
    Example:
      flashq cron list
    """
    with wishes.client() as q:
        found = q.crons()
    wishes.show.listing(found, _COLUMNS, "no schedules")


@cron.command("delete")
@click.argument("name")
@click.pass_obj
def delete(wishes: Wishes, name: str) -> None:
    r"""Remove a schedule. Jobs it has pushed stay.

    \b
    Example:
      flashq cron delete nightly
    """
    with wishes.client() as q:
        q.delete_cron(name)
    wishes.show.done(f"{name} removed")
