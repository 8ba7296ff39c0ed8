"""How a job inside a test reaches its server."""

import pytest

from flashq.tasks import Context
from flashq.testing.link import DirectLink
from flashq.testing.server import LocalServer


def test_what_a_job_says_arrives() -> None:
    """Progress is there at once, and both messages renew the lease."""
    with LocalServer() as server:
        q = server.client()
        q.push("q", 1)
        job = q.pull("q", timeout=0)
        assert job is not None
        link = DirectLink(q, job)
        server.clock.advance(29 * 60_000)
        link.progress(40, "almost half")
        assert (q.get_progress(job).progress, q.get_progress(job).message) == (40, "almost half")
        server.clock.advance(29 * 60_000)
        link.heartbeat()
        server.clock.advance(29 * 60_000)
        assert q.state(job) == "active"


@pytest.mark.parametrize("known", [True, False])
def test_an_attempt_that_has_ended_is_told(known: bool) -> None:
    """The context learns of it; before there is a context nobody needs to."""
    with LocalServer() as server:
        q = server.client()
        q.push("q", 1)
        job = q.pull("q", timeout=0)
        assert job is not None
        link = DirectLink(q, job)
        context = Context(task="t")
        if known:
            link.context = context
        q.cancel(job)
        link.heartbeat()
        assert context.cancelled is known
