"""An app on a server inside the test."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.unit.testing import shop

from flashq import Unreachable
from flashq.testing import LocalApp, LocalServer


@pytest.fixture
def local() -> Iterator[LocalApp]:
    """The shop on a server of its own."""
    shop.sent.clear()
    with LocalApp(shop.app) as opened:
        yield opened


def test_the_app_reaches_the_tests_server_and_afterwards_its_own(local: LocalApp) -> None:
    """Only for as long as the block lasts do jobs go to the test's server; middlewares are as before, too."""
    shop.send.delay("ada")
    assert local.client.stats().queued == 1
    local.close()
    assert shop.app.middlewares == []
    assert "nowhere.invalid" in repr(shop.app.client)
    shop.app.close()


def test_a_server_may_be_shared(local: LocalApp) -> None:
    """A server that was given outlives the block; one of its own does not."""
    local.close()
    with LocalServer() as server:
        with LocalApp(shop.app, server) as first:
            shop.send.delay("ada")
            q = first.client
        with LocalApp(shop.app, server) as second:
            assert [job.args for job in second.enqueued()] == [["ada"]]
            assert second.client is not q
    with pytest.raises(Unreachable):
        local.server.client().ping()


def test_enqueued(local: LocalApp) -> None:
    """Jobs are told by task, in order, whatever became of them and whoever pushed them."""
    shop.send.delay("ada")
    shop.welcome.options(delay=5_000).delay("bob")
    local.client.push("other", {"n": 1})
    local.drain(queues=["mail"])
    assert [(job.task.rpartition(".")[2], job.args, job.state, job.due_in) for job in local.enqueued()] == [
        ("send", ["ada"], "completed", 0),
        ("welcome", ["bob"], "delayed", 5_000),
        ("", [], "waiting", 0),
    ]
    assert [job.id for job in local.enqueued(shop.welcome)] == [2]
    assert [job.id for job in local.enqueued(shop.send.name)] == [1]


def test_assert_enqueued_compares_what_the_function_gets(local: LocalApp) -> None:
    """It does not matter whether an argument was given by place, by name or by default."""
    shop.send.delay("ada", subject="hi")
    shop.send.delay("bob")
    assert [job.id for job in local.assert_enqueued(shop.send, args=("ada", "hi"), count=1)] == [1]
    local.assert_enqueued(shop.send, kwargs={"to": "bob", "subject": "hello"})
    local.assert_enqueued(shop.send, count=2)
    local.assert_enqueued(shop.send.name, queue="mail")
    local.assert_not_enqueued(shop.send, args=("eve",))
    local.assert_not_enqueued(shop.welcome)


def test_assert_enqueued_looks_at_the_time(local: LocalApp) -> None:
    """``within`` is about when the job may run, seen from now."""
    shop.send.options(delay=timedelta(minutes=10)).delay("ada")
    with pytest.raises(AssertionError, match="due within 60000 ms"):
        local.assert_enqueued(shop.send, within=60_000)
    local.assert_enqueued(shop.send, within=timedelta(minutes=10))
    local.clock.advance(timedelta(minutes=9))
    local.assert_enqueued(shop.send, within=60_000)


def test_a_failure_shows_what_was_enqueued_instead(local: LocalApp) -> None:
    """The message is enough to see the mistake."""
    with pytest.raises(AssertionError) as nothing:
        local.assert_enqueued(shop.send)
    assert str(nothing.value) == "not enqueued: tests.unit.testing.shop.send\nnothing was enqueued"
    shop.send.options(delay=5_000).delay("ada", subject="hi")
    local.client.push("other", {"n": 1})
    with pytest.raises(AssertionError) as other:
        local.assert_enqueued(shop.send, args=("bob",), queue="mail")
    assert str(other.value).splitlines() == [
        "not enqueued: tests.unit.testing.shop.send('bob') on 'mail'",
        "enqueued were:",
        "  job 1: tests.unit.testing.shop.send('ada', subject='hi') on 'mail', delayed, due in 5000 ms",
        "  job 2: {'n': 1} on 'other', waiting",
    ]
    with pytest.raises(AssertionError, match="1 instead of 2"):
        local.assert_enqueued(shop.send, count=2)
    with pytest.raises(AssertionError, match=r"enqueued, and should not be: any task\n(?s:.*)job 1: "):
        local.assert_not_enqueued()


async def test_in_a_coroutine(local: LocalApp) -> None:
    """Async programs are tested the same way: the app's async client reaches the server too."""
    job = await shop.welcome.adelay("ada")
    await local.adrain()
    assert await shop.app.aclient.result(job.id) == "welcome ada"
    local.assert_enqueued(shop.send, args=("ada",))
