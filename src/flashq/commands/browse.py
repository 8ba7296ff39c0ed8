"""LISTJOBS, EXPLAIN: which jobs there are, and why one does not run."""

import re
from collections.abc import Set
from typing import Final

from msgspec.structs import astuple

from flashq.commands.names import check_queue_name
from flashq.commands.session import Context, Session
from flashq.engine.queue import Queue
from flashq.errors import BadRequest
from flashq.model import STATE_NAMES, UNKNOWN, Instant
from flashq.protocol import replies, requests
from flashq.protocol.limits import MAX_ID, MAX_LISTED

_CURSOR: Final = re.compile(r"[1-9a-f][0-9a-f]{0,13}")
"""A page is all below an id, and the cursor is that id. It is written as no id is, so that nobody reads it as one."""


def list_jobs(context: Context, _: Session, request: requests.ListJobs, __: Instant) -> replies.ListedJobs:
    """LISTJOBS."""
    if request.queue is None:
        return list_among(context, None, request)
    check_queue_name(request.queue)
    queue = context.engine.queues.by_name.get(request.queue)
    return list_among(context, frozenset() if queue is None else {queue}, request)


def list_among(context: Context, queues: Set[Queue] | None, request: requests.ListJobs) -> replies.ListedJobs:
    """LISTJOBS of some queues; None: of all."""
    engine = context.engine
    state = UNKNOWN if request.state is None else STATE_NAMES.index(request.state)
    below = MAX_ID + 1 if request.cursor is None else _below(request.cursor)
    if queues is not None and not queues:
        return replies.ListedJobs(jobs=[], next=None)
    page = engine.listing.page(queues, state, below, min(request.limit, MAX_LISTED))
    jobs = [replies.ListedJob(*astuple(job), state=engine.lookup.state(job.id)) for job in page.jobs]
    return replies.ListedJobs(jobs=jobs, next=f"{page.below:x}" if page.below else None)


def explain(context: Context, _: Session, request: requests.Explain, now: Instant) -> replies.Explained:
    """EXPLAIN."""
    return replies.Explained(explain=context.engine.explain.job(request.id, now))


def _below(cursor: str) -> int:
    """The id below which a page begins.

    Raises:
        BadRequest: no page ever gave this cursor.
    """
    if not _CURSOR.fullmatch(cursor) or (below := int(cursor, 16)) > MAX_ID:
        raise BadRequest("Invalid: not a cursor of LISTJOBS - at `$.cursor`")
    return below
