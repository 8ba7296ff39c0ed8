"""``flashq cron ...``: jobs that are pushed on a schedule."""

from typing import Any, Final

import click
from msgspec import Raw

from flashq.cli.payloads import Json
from flashq.cli.reach import Noun, Wishes
from flashq.cli.show import Column, moment
from flashq.protocol.limits import MAX_DURATION_MS

_MS: Final = click.IntRange(0, MAX_DURATION_MS)

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
@click.option("--timeout", type=_MS, help="ms that one attempt of a job may run.")
@click.option("--ttl", type=_MS, help="ms after which a job disappears, unless it runs.")
@click.option("--max-attempts", type=click.IntRange(0, 2**32 - 1), help="Failed attempts until the dead letters.")
@click.option("--backoff", type=_MS, help="ms before the first retry, doubled each time; 0 = at once.")
@click.option("--unique-key", help="Push nothing while the job of a former run lives.")
@click.option("--tag", "tags", multiple=True, help="A word for people.")
@click.pass_obj
def set_(
    wishes: Wishes,
    /,
    name: str,
    queue: str,
    schedule: str,
    data: Raw | None,
    **options: Any,  # noqa: ANN401  # the members of CRON, by name
) -> None:
    r"""Push DATA to QUEUE whenever SCHEDULE says so. The same NAME again replaces it.

    SCHEDULE is */N for every N seconds, five fields as in crontab, or six with seconds first.

    \b
    Examples:
      flashq cron set pulse health '*/30'
      flashq cron set nightly reports '0 3 * * MON-FRI' '{"kind": "daily"}' --timezone Europe/Rome
      flashq cron set sync mirror '*/60' --unique-key sync --timeout 300000
    """
    options["tags"] = options["tags"] or None
    with wishes.client() as q:
        q.set_cron(name, queue, schedule, data, **options)
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
