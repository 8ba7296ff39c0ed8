"""``flashq dlq ...``: jobs that are out of attempts."""

from typing import Final

import click

from flashq.cli.jobs import ID
from flashq.cli.reach import Noun, Wishes
from flashq.cli.show import Column, moment

_COLUMNS: Final[tuple[Column, ...]] = (
    ("id", lambda job: job.id),
    ("attempts", lambda job: job.attempts),
    ("last attempt", lambda job: moment(job.started_at)),
    ("error", lambda job: job.progress_msg),
    ("data", lambda job: job.payload),
)


@click.group(cls=Noun)
def dlq() -> None:
    r"""Look at dead letters: jobs that failed too often. Try them again, or remove them.

    \b
    Example:
      flashq dlq list emails
    """


@dlq.command("list")
@click.argument("queue")
@click.option("--count", type=click.IntRange(1, 2**32 - 1), default=100, show_default=True, help="At most so many.")
@click.pass_obj
def list_(wishes: Wishes, queue: str, count: int) -> None:
    r"""The dead letters of QUEUE, oldest first, with their last error.

    \b
    Example:
      flashq dlq list emails --count 10
    """
    with wishes.client() as q:
        found = q.dead_letters(queue, count)
    wishes.show.listing(found, _COLUMNS, f"no dead letters in {queue}")


@dlq.command("retry")
@click.argument("queue")
@click.option("--id", type=ID, help="Only this one; without it, all.")
@click.pass_obj
def retry(wishes: Wishes, queue: str, id: int | None) -> None:
    r"""Run dead letters of QUEUE again, with all their attempts before them.

    \b
    Examples:
      flashq dlq retry emails
      flashq dlq retry emails --id 17
    """
    with wishes.client() as q:
        count = q.retry_dead_letters(queue, id)
    wishes.show.done(f"{count} dead letters run again", count=count)


@dlq.command("purge")
@click.argument("queue")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def purge(wishes: Wishes, queue: str, *, yes: bool) -> None:
    r"""Remove the dead letters of QUEUE for good.

    \b
    Example:
      flashq dlq purge emails --yes
    """
    if not yes and not wishes.show.confirm(f"Remove all dead letters of {queue} for good?"):
        raise click.UsageError("nothing was removed: say --yes to remove them")
    with wishes.client() as q:
        count = q.purge_dead_letters(queue)
    wishes.show.done(f"{count} dead letters removed", count=count)
