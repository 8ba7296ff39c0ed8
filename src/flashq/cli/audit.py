"""``flashq history`` and ``flashq audit``: who did what, and when."""

from typing import Final

import click

from flashq.cli.jobs import ID
from flashq.cli.reach import Nothing, Verb, Wishes
from flashq.cli.show import Column, moment
from flashq.model import HistoryEntry, Operation
from flashq.protocol.limits import MAX_HISTORY, MAX_ID

_Entry = HistoryEntry | Operation

_WHO: Final[tuple[Column, ...]] = (
    ("by", lambda entry: entry.by),
    ("from", lambda entry: entry.peer or entry.door),
    ("detail", lambda entry: entry.detail),
)
_HISTORY: Final[tuple[Column, ...]] = (
    ("at", lambda entry: moment(entry.at)),
    ("event", lambda entry: entry.event),
    ("attempt", lambda entry: entry.attempt or None),
    ("worker", lambda entry: entry.worker),
    *_WHO,
)
_AUDIT: Final[tuple[Column, ...]] = (
    ("at", lambda action: moment(action.at)),
    ("action", lambda action: action.action),
    ("target", lambda action: action.target),
    *_WHO,
)


@click.command(cls=Verb)
@click.argument("id", type=ID)
@click.pass_obj
def history(wishes: Wishes, id: int) -> None:
    r"""What happened to a job: who pushed it, who had it, how each attempt ended.

    The server must run with AUDIT=1.

    \b
    Examples:
      flashq history 17
      flashq --json history 17 | jq '.[].event'
    """
    with wishes.client() as q:
        entries = q.history(id)
    if not entries:
        raise Nothing(f"nothing is known of the history of job {id}")
    wishes.show.listing(entries, _HISTORY, "")


@click.command(cls=Verb)
@click.option("--since", type=click.IntRange(0, MAX_ID), help="ms since the Unix epoch; nothing older.")
@click.option("--limit", type=click.IntRange(1, MAX_HISTORY), default=100, show_default=True, help="At most so many.")
@click.pass_obj
def audit(wishes: Wishes, since: int | None, limit: int) -> None:
    r"""What operators did, newest first: pauses, limits, schedules, dead letters retried or purged; and each start.

    The server must run with AUDIT=1.

    \b
    Example:
      flashq audit --limit 20
    """
    with wishes.client() as q:
        page = q.audit_log(since=since, limit=limit)
    wishes.show.listing(page.actions, _AUDIT, "nothing was done")
