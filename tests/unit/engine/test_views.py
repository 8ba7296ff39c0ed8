"""A job as everybody sees it, put together from its parts."""

from msgspec import UNSET
from tests.unit.engine.bench import START, Bench

from flashq.engine.views import view


def test_a_plain_job(bench: Bench) -> None:
    """Every member of a job that was pushed with nothing but its payload."""
    job = bench.job(bench.push(data=b'{"to": "ann"}'))
    assert (job.id, job.queue, bytes(job.data), job.priority) == (1, "emails", b'{"to": "ann"}', 0)
    assert (job.created_at, job.run_at, job.started_at) == (START.wall, START.wall, 0)
    assert (job.attempts, job.max_attempts, job.backoff, job.ttl, job.timeout) == (0, 3, 1_000, 0, 0)
    assert (job.unique_key, job.depends_on, job.progress, job.progress_msg, job.tags) == (None, [], 0, None, [])
    assert (job.custom_id, job.token) == (UNSET, UNSET)


def test_a_job_with_everything(bench: Bench) -> None:
    """Every member that a client may give comes back as it was given."""
    parent = bench.push()
    bench.pull_one()
    bench.ack(parent)
    job = bench.job(
        bench.push(
            data=b"[1]", priority=-7, delay=500, ttl=9_000, timeout=300, max_attempts=0, backoff=0,
            unique_key="k", depends_on=[parent], tags=["a", "b"], job_id="mine",
        )
    )  # fmt: skip
    assert (job.priority, job.run_at, job.ttl, job.timeout) == (-7, START.wall + 500, 9_000, 300)
    assert (job.max_attempts, job.backoff, job.unique_key) == (0, 0, "k")
    assert (job.depends_on, job.tags, job.custom_id) == ([parent], ["a", "b"], "mine")


def test_an_active_job_tells_when_its_attempt_began(bench: Bench) -> None:
    """While it runs, after it failed and after it completed: the begin of the newest attempt."""
    id = bench.push(backoff=0)
    bench.pass_time(10)
    assert bench.pull_one().started_at == bench.job(id).started_at == START.wall + 10
    bench.fail(id)
    assert bench.job(id).started_at == START.wall + 10
    bench.pass_time(10)
    bench.pull_one()
    bench.ack(id)
    bench.pass_time(10)
    assert bench.job(id).started_at == START.wall + 20


def test_what_is_not_there_has_no_view(bench: Bench) -> None:
    """An id never issued, and one that was dropped beside a living job."""
    gone, stays = bench.push(), bench.push()
    bench.cancel(gone)
    assert view(bench.engine.jobs, gone) is None
    assert view(bench.engine.jobs, 10**12) is None
    assert view(bench.engine.jobs, stays) is not None


def test_lists_are_copies(bench: Bench) -> None:
    """A reader that changes its copy changes no job."""
    id = bench.push(tags=["a"])
    bench.job(id).tags.append("b")
    assert bench.job(id).tags == ["a"]
