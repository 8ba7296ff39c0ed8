"""Looking for jobs and telling of them."""

from tests.unit.testing import shop

from flashq.testing.enqueued import SHOWN, SLICE, Wanted, all_jobs, listed, named, shown
from flashq.testing.server import LocalServer


def test_all_jobs_of_many() -> None:
    """Every job is found once, over the borders of what is asked for in one go; one that was cancelled is not."""
    with LocalServer() as server:
        q = server.client()
        ids = q.push_batch("q", range(2 * SLICE + 1))
        q.cancel(ids[1])
        found = all_jobs(q, ids[-1] + 1, server.clock.now)
        assert [job.id for job in found] == [ids[0], *ids[2:]]


def test_a_long_list_is_cut() -> None:
    """A failure stays readable, and says how much is missing."""
    with LocalServer() as server:
        q = server.client()
        ids = q.push_batch("q", range(SHOWN + 3))
        lines = listed(all_jobs(q, ids[-1] + 1, server.clock.now)).splitlines()
    assert len(lines) == SHOWN + 2
    assert lines[-1] == "  and 3 more"


def test_calls_are_shown_as_they_are_written() -> None:
    """Places first, then names."""
    assert shown("send", ["ada", 1], {"subject": "x"}) == "send('ada', 1, subject='x')"
    assert str(Wanted(within=5)) == "any task, due within 5 ms"


def test_arguments_by_name() -> None:
    """Defaults are filled in; a call that does not fit the function is compared as it is."""
    assert named(shop.send, ["ada"], {}) == {"to": "ada", "subject": "hello"}
    assert named(shop.send, [], {"subject": "x"}) == [[], {"subject": "x"}]
    assert named(None, [1], {}) == [[1], {}]
