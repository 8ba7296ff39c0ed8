"""``flashq pull`` and ``flashq jobs ...``: take jobs, look at them, and end them by hand."""

from typing import Final, cast

import click
from msgspec import Raw

from flashq.cli.payloads import Json
from flashq.cli.reach import Nothing, Noun, Verb, Wishes
from flashq.cli.show import NO_VALUE, Column, Show, duration, moment
from flashq.client import FlashQ, JobRecord
from flashq.errors import NotActive, NotFound
from flashq.protocol.limits import MAX_BATCH, MAX_DURATION_MS, MAX_ID
from flashq.protocol.requests import ListedState

ID: Final = click.IntRange(1, MAX_ID)
_MS: Final = click.IntRange(0, MAX_DURATION_MS)

_STATES: Final = ("waiting", "delayed", "active", "completed", "failed", "waiting-children")

_COLUMNS: Final[tuple[Column, ...]] = (
    ("id", lambda job: job.id),
    ("queue", lambda job: job.queue),
    ("state", lambda job: job.state),
    ("priority", lambda job: job.priority),
    ("attempts", lambda job: job.attempts),
    ("created", lambda job: moment(job.created_at)),
    ("message", lambda job: job.progress_msg),
    ("data", lambda job: job.payload),
)

_attempt = click.option(
    "--attempt", metavar="TOKEN", help="The token that came with the pull; without it the live attempt is meant."
)


@click.command(cls=Verb)
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
@click.option("--count", type=click.IntRange(1, MAX_BATCH), help="Up to so many; the answer is then a list.")
@click.option("--timeout", type=_MS, default=0, help="ms to wait for a job; 0, not at all.")
@click.option("--ack", is_flag=True, help="Complete the jobs as soon as they are printed.")
@click.pass_obj
def pull(wishes: Wishes, queues: tuple[str, ...], count: int | None, timeout: int, *, ack: bool) -> None:
    r"""Take the next job of QUEUE, or of the first of several that has one, and print it.

    It is yours then: end it with `flashq jobs ack` or `flashq jobs fail`, or it comes back when its time is over.

    \b
    Examples:
      flashq pull emails --timeout 5000
      flashq pull urgent emails reports
      flashq --json pull emails --count 100 --ack | jq '.[].data'
    """
    with wishes.client() as q:
        jobs = q.pull_any(queues, count or 1, timeout)
        _show_pulled(wishes.show, jobs, alone=count is None)
        if not jobs:
            raise Nothing(f"no job in {', '.join(queues)}" + (f" within {duration(timeout)}" if timeout else ""))
        if ack:
            _ack_all(q, jobs)


@click.command(cls=Verb)
@click.argument("id", type=ID)
@click.option("--timeout", type=click.IntRange(0, MAX_DURATION_MS), help="ms to wait; without it, as long as it takes.")
@click.pass_obj
def wait(wishes: Wishes, id: int, timeout: int | None) -> None:
    r"""Wait until a job has ended, and print what it returned, as JSON.

    \b
    Examples:
      flashq wait 17 | jq .
      flashq --json wait 17 --timeout 60000
    """
    with wishes.client() as q:
        ending = q.wait_job(id, timeout)
    if wishes.json:
        wishes.show.document(ending)
    if ending.state == "completed":
        if not wishes.json:
            wishes.show.document(ending.payload)
    elif ending.state == "unknown":
        raise NotFound(f"Job {id} not found" + (f": it was {ending.error}" if ending.error else ""))
    elif ending.ended:
        raise Nothing(f"job {id} failed: {ending.error}")
    else:
        raise Nothing(f"job {id} has not ended within {duration(timeout or 0)}: it is {ending.state}")


def _show_pulled(show: Show, jobs: list[JobRecord], *, alone: bool) -> None:
    if show.as_json:
        show.document((jobs[0] if jobs else None) if alone else jobs)
        return
    for job in jobs:
        show.facts(job, {"id": job.id, **_facts(job), "token": job.token})
        if job is not jobs[-1]:
            show.text("")


def _ack_all(q: FlashQ, jobs: list[JobRecord]) -> None:
    acked = q.ack_batch(jobs)
    if acked.count != len(jobs):
        raise NotActive(f"only {acked.count} of {len(jobs)} jobs were completed: the others had gone meanwhile")


def _facts(job: JobRecord) -> dict[str, object]:
    """What there is to know about a job; what was not set is left out."""
    facts: dict[str, object] = {
        "queue": job.queue,
        "data": job.payload,
        "priority": job.priority,
        "attempts": f"{job.attempts} failed of {job.max_attempts or 'any number'}",
        "created": moment(job.created_at),
        "runs" if job.state == "delayed" else "ran" if job.started_at else "ready": moment(
            job.started_at or job.run_at
        ),
    }
    rare = {
        "backoff": duration(job.backoff) if job.backoff else None,
        "ttl": duration(job.ttl) if job.ttl else None,
        "timeout": duration(job.timeout) if job.timeout else None,
        "unique key": job.unique_key,
        "depends on": job.depends_on,
        "progress": f"{job.progress} %" if job.progress else None,
        "message": job.progress_msg,
        "tags": job.tags,
        "custom id": job.custom_id,
    }
    return facts | {name: value for name, value in rare.items() if value not in (None, [])}


@click.group(cls=Noun)
def jobs() -> None:
    r"""Look at jobs, and end them by hand.

    \b
    Examples:
      flashq jobs list --state failed
      flashq jobs get 17
    """


@jobs.command("get")
@click.argument("id", type=ID, required=False)
@click.option("--custom-id", help="Find it by the id that its pusher gave it.")
@click.pass_obj
def get(wishes: Wishes, id: int | None, custom_id: str | None) -> None:
    r"""Everything about a job.

    \b
    Examples:
      flashq jobs get 17
      flashq jobs get --custom-id order-4711
    """
    if (id is None) == (custom_id is None):
        raise click.UsageError("give either ID or --custom-id")
    with wishes.client() as q:
        job = q.job_by_custom_id(custom_id) if custom_id is not None else q.job(id or 0)
    if job is None:
        raise NotFound(f"Job {id or custom_id} not found")
    wishes.show.facts(job, {"id": job.id, "state": job.state, **_facts(job)})


@jobs.command("list")
@click.option("--queue", help="Of this queue only.")
@click.option("--state", type=click.Choice(_STATES), help="In this state only.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="However many there are.")
@click.pass_obj
def list_(wishes: Wishes, queue: str | None, state: str | None, limit: int, *, everything: bool) -> None:
    r"""Jobs that live or are remembered, newest first.

    \b
    Examples:
      flashq jobs list --queue emails --state failed
      flashq jobs list --all --json | jq '.[].id'
    """
    with wishes.client() as q:
        found = list(q.all_jobs(queue, cast("ListedState | None", state), None if everything else limit))
    wishes.show.listing(found, _COLUMNS, "no such jobs")


@jobs.command("state")
@click.argument("id", type=ID)
@click.pass_obj
def state(wishes: Wishes, id: int) -> None:
    r"""One word: waiting, delayed, active, completed, failed, waiting-children or unknown.

    \b
    Example:
      test "$(flashq jobs state 17)" = completed
    """
    with wishes.client() as q:
        word = q.state(id)
    wishes.show.done(word, id=id, state=word)
    if word == "unknown":
        raise NotFound(f"Job {id} not found")


@jobs.command("result")
@click.argument("id", type=ID)
@click.pass_obj
def result(wishes: Wishes, id: int) -> None:
    r"""What a completed job returned, as JSON.

    \b
    Example:
      flashq jobs result 17 | jq .
    """
    with wishes.client() as q:
        value = q.result(id)
        word = "completed" if value is not None else q.state(id)
    if word == "unknown":
        raise NotFound(f"Job {id} not found")
    if word != "completed":
        raise Nothing(f"job {id} has no result: it is {word}")
    if wishes.json:
        wishes.show.document({"id": id, "result": value})
    else:
        wishes.show.document(value)


@jobs.command("cancel")
@click.argument("id", type=ID)
@click.pass_obj
def cancel(wishes: Wishes, id: int) -> None:
    r"""Take back a job that has not finished.

    \b
    Example:
      flashq jobs cancel 17
    """
    with wishes.client() as q:
        q.cancel(id)
    wishes.show.done(f"job {id} cancelled")


@jobs.command("progress")
@click.argument("id", type=ID)
@click.argument("percent", type=click.IntRange(0, 100), required=False)
@click.option("--message", help="A few words about it.")
@_attempt
@click.pass_obj
def progress(wishes: Wishes, id: int, percent: int | None, message: str | None, attempt: str | None) -> None:
    r"""How far a job is; with PERCENT, say how far it is.

    \b
    Examples:
      flashq jobs progress 17
      flashq jobs progress 17 50 --message 'half way'
    """
    if percent is None and (message is not None or attempt is not None):
        raise click.UsageError("--message and --attempt need PERCENT")
    with wishes.client() as q:
        if percent is not None:
            q.progress(id, percent, message, token=attempt)
            wishes.show.done(f"job {id}: {percent} %")
            return
        now = q.get_progress(id)
    wishes.show.done(f"{now.progress} %  {now.message or NO_VALUE}", id=id, progress=now.progress, message=now.message)


@jobs.command("ack")
@click.argument("id", type=ID)
@click.argument("result", type=Json(), required=False)
@_attempt
@click.pass_obj
def ack(wishes: Wishes, id: int, result: Raw | None, attempt: str | None) -> None:
    r"""Complete a job that somebody has pulled, with RESULT if there is one.

    \b
    Example:
      flashq jobs ack 17 '{"sent": true}'
    """
    with wishes.client() as q:
        q.ack(id, result, token=attempt)
    wishes.show.done(f"job {id} completed")


@jobs.command("fail")
@click.argument("id", type=ID)
@click.argument("error", required=False)
@click.option("--delay", type=_MS, help="ms until it is tried again, instead of its backoff.")
@click.option("--dead", is_flag=True, help="Straight to the dead letters.")
@_attempt
@click.pass_obj
def fail(wishes: Wishes, id: int, error: str | None, delay: int | None, attempt: str | None, *, dead: bool) -> None:
    r"""End the attempt of a pulled job as failed: it is tried again, or goes to the dead letters.

    \b
    Examples:
      flashq jobs fail 17 'no such address' --dead
      flashq jobs fail 17 'mailbox busy' --delay 60000
    """
    if dead and delay is not None:
        raise click.UsageError("give either --delay or --dead")
    with wishes.client() as q:
        q.fail(id, error, delay=delay, dead=dead, token=attempt)
        word = q.state(id)
    wishes.show.done(f"job {id} failed, now {word}", id=id, state=word)


@jobs.command("release")
@click.argument("id", type=ID)
@click.option("--delay", type=_MS, help="ms until it may run again; at once unless said.")
@_attempt
@click.pass_obj
def release(wishes: Wishes, id: int, delay: int | None, attempt: str | None) -> None:
    r"""Give back a pulled job. The attempt is not counted.

    \b
    Example:
      flashq jobs release 17 --delay 60000
    """
    with wishes.client() as q:
        q.release(id, delay=delay, token=attempt)
        word = q.state(id)
    wishes.show.done(f"job {id} released, now {word}", id=id, state=word)


@jobs.command("heartbeat")
@click.argument("id", type=ID)
@_attempt
@click.pass_obj
def heartbeat(wishes: Wishes, id: int, attempt: str | None) -> None:
    r"""Say that the attempt of a pulled job still runs: its time starts anew.

    \b
    Example:
      flashq jobs heartbeat 17
    """
    with wishes.client() as q:
        q.heartbeat(id, token=attempt)
    wishes.show.done(f"job {id} goes on")
