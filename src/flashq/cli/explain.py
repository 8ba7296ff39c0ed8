"""``flashq explain``: why a job does not run, in plain sentences.

The server's reasons are facts with types; here each becomes a sentence, with the command that helps where there is one.
"""

import click

from flashq.cli.jobs import ID
from flashq.cli.reach import Verb, Wishes
from flashq.cli.show import duration, moment
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
    NoWorker,
    Paused,
    RateLimited,
    Running,
    WorkersBusy,
)


@click.command(cls=Verb)
@click.argument("id", type=ID)
@click.pass_obj
def explain(wishes: Wishes, id: int) -> None:
    r"""Why a job is where it is, what keeps it from running, and when it may start.

    \b
    Examples:
      flashq explain 17
      flashq --json explain 17 | jq '.reasons[].type'
    """
    with wishes.client() as q:
        found = q.explain(id)
    if wishes.json:
        wishes.show.document(found)
        return
    for line in sentences(found):
        wishes.show.text(line)


def sentences(found: Explanation) -> list[str]:
    """An explanation in words."""
    where = f" in {found.queue}" if found.queue else ""
    lines = [f"job {found.id}{where} is {found.state}"]
    lines += [f"- {_sentence(reason, found)}" for reason in found.reasons]
    if found.estimated_start is not None and found.estimate_basis is not None:
        about = _distance(found.estimated_start - found.at)
        lines.append(f"it should start in about {about}: {_basis(found.estimate_basis)}")
    if found.expires_at is not None:
        lines.append(f"it expires at {moment(found.expires_at)} if it does not run by then")
    if found.unique_key is not None:
        lines.append(f"it holds the unique key {found.unique_key}")
    return lines


def _sentence(reason: AnyReason, found: Explanation) -> str:
    match reason:
        case Paused():
            return f"the queue is paused; flashq queues resume {found.queue}"
        case Delayed():
            return _delayed(reason, found.at)
        case RateLimited():
            return f"the queue may deliver {reason.limit} a second, the next one in {_distance(reason.frees_in_ms)}"
        case Concurrency():
            ids = _some([str(holder.id) for holder in reason.holders], reason.active)
            return f"{_jobs(reason.active)} of the queue run, and {reason.limit} may: {ids}"
        case Dependencies():
            parents = _some([f"{parent.id} ({parent.state})" for parent in reason.parents], reason.count)
            return f"it waits for {_jobs(reason.count)} to complete: {parents}"
        case Ahead():
            return f"{'' if reason.exact else 'at least '}{_jobs(reason.count)} {_go(reason.count)} first"
        case NoWorker():
            held = f", {_jobs(reason.active)} of it in somebody's hands" if reason.active else ""
            return f"nobody asks for jobs of the queue{held}; {_last(reason.since_delivery_ms)}"
        case WorkersBusy():
            rooms = f"there are {reason.workers}, for {_jobs(reason.concurrency)} at once"
            return f"no worker for the queue asks for a job now: {rooms}; {_last(reason.since_delivery_ms)}"
        case Running():
            return _running(reason)
        case Completed():
            failed = f" after {reason.attempts} that failed" if reason.attempts else ""
            kept = f"; flashq jobs result {found.id}" if reason.result else ""
            return f"it is done, by the attempt that began at {moment(reason.started_at)}{failed}{kept}"
        case Failed():
            return _failed(reason, found)
        case Gone():
            why = "it was cancelled, expired or purged" if reason.dropped else "it completed, or left long ago"
            return f"it is not remembered: {why}"


def _delayed(reason: Delayed, now: int) -> str:
    when = f"{moment(reason.until)}, in {_distance(reason.until - now)}"
    if reason.retry:
        why = reason.error or "nobody said why"
        return f"it has failed {_times(reason.attempts)} ({why}) and is tried again at {when}"
    return f"it may not run before {when}"


def _running(reason: Running) -> str:
    who = f" by worker {reason.worker}" if reason.worker else ""
    far = f", {reason.progress} % done" if reason.progress else ""
    end = {
        "timeout": "its timeout ends it at",
        "lease": "unless something is heard of it, it ends at",
        "silence": "unless something is heard of the worker, it ends at",
    }[reason.ends_by]
    said = f"; {reason.message}" if reason.message else ""
    return f"it runs since {moment(reason.since)}{who}{far}; {end} {moment(reason.deadline)}{said}"


def _failed(reason: Failed, found: Explanation) -> str:
    bound = f" of {reason.max_attempts}" if reason.max_attempts else ""
    why = reason.error or "nobody said why"
    helps = f"flashq dlq retry {found.queue} --id {found.id}"
    return f"it is a dead letter since {moment(reason.at)}, after {reason.attempts}{bound} attempts: {why}; {helps}"


def _basis(basis: Basis) -> str:
    parts = [f"it is number {basis.place}"]
    if basis.delivered:
        parts.append(f"{_jobs(basis.delivered)} were delivered in the last {_distance(basis.over_ms)}")
    if basis.rate_limit is not None:
        parts.append(f"{basis.rate_limit} a second may be")
    return ", ".join(parts)


def _last(since_ms: int | None) -> str:
    if since_ms is None:
        return "none has been delivered since the server started"
    return f"the last was delivered {_distance(since_ms)} ago"


def _distance(ms: int) -> str:
    """A span of time as people say it: what is longer than ten seconds, in whole ones."""
    return duration(max(0, ms) if ms < 10_000 else round(ms, -3))


def _some(names: list[str], count: int) -> str:
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _go(count: int) -> str:
    return "goes" if count == 1 else "go"
