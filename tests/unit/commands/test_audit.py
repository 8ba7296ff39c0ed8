"""Unit tests of `flashq.commands.audit`: what is noted around commands, and how it is asked for."""

from typing import Any

import pytest
from tests.unit.commands.desk import Desk

from flashq.commands.audit import OFF
from flashq.commands.session import Session
from flashq.commands.table import ACTIONS, COMMANDS
from flashq.engine.records import SERVER
from flashq.errors import BadRequest, Forbidden, NotFound, ShuttingDown
from flashq.security.identity import Identity


@pytest.fixture
def audited() -> Desk:
    """A desk that keeps the history, with somebody at it whose name is known."""
    desk = Desk()
    desk.keep_history()
    desk.session = somebody("ada")
    return desk


def somebody(name: str) -> Session:
    """A session of a named one."""
    session = Session(peer="192.0.2.7", door="lines")
    session.identify(Identity(name))
    return session


def entries(desk: Desk, id: int) -> list[tuple[str, str]]:
    """What happened to a job, and by whom."""
    return [(entry["event"], entry["by"]) for entry in desk.ask("HISTORY", id=id)["history"]]


def test_without_history_there_is_nothing_to_ask(desk: Desk) -> None:
    """The refusal says what to do."""
    for cmd, members in (("HISTORY", {"id": 1}), ("AUDITLOG", {})):
        with pytest.raises(BadRequest, match=OFF):
            desk.ask(cmd, **members)


def test_without_history_nothing_is_noted(desk: Desk) -> None:
    """Neither about jobs nor about operators."""
    desk.ask("PUSH", queue="q", data=1)
    desk.ask("PAUSE", queue="q")
    desk.ask("CANCEL", id=1)
    assert desk.engine.outbox.records == []


def test_what_happens_is_by_whom_it_was_done(audited: Desk) -> None:
    """Each command is its own client's doing, with the address and the door."""
    audited.ask("PUSH", queue="q", data=1)
    audited.session = somebody("bob")
    audited.ask("PULL", queue="q")
    audited.session = Session()
    audited.ask("ACK", id=1)
    assert entries(audited, 1) == [("pushed", "ada"), ("active", "bob"), ("completed", "anonymous")]
    (pushed, *_, completed) = audited.ask("HISTORY", id=1)["history"]
    assert (pushed["peer"], pushed["door"]) == ("192.0.2.7", "lines")
    assert (completed["peer"], completed["door"]) == (None, None)


def test_a_pull_that_waited_is_its_own_clients_doing(audited: Desk) -> None:
    """Not that of whoever pushed the job."""
    audited.session = somebody("bob")
    assert "parked" in audited.ask("PULL", queue="q")
    audited.session = somebody("ada")
    audited.ask("PUSH", queue="q", data=1)
    audited.engine.outbox.take_deliveries()
    assert entries(audited, 1) == [("pushed", "ada"), ("active", "bob")]


def test_what_the_clock_does_is_the_servers_doing(audited: Desk) -> None:
    """However the command before it ended."""
    audited.ask("PUSH", queue="q", data=1, ttl=50)
    with pytest.raises(NotFound):
        audited.ask("CANCEL", id=99)
    assert audited.engine.outbox.by is SERVER
    audited.pass_time(60)
    assert entries(audited, 1) == [("pushed", "ada"), ("expired", "server")]


def test_actions_say_what_was_asked_for(audited: Desk) -> None:
    """To what it was done, with the numbers, and without payloads."""
    audited.ask("RATELIMIT", queue="q", limit=5)
    audited.ask("CRON", name="c", queue="q", schedule="*/5", data={"password": "secret"}, unique_key="secret")
    audited.ask("CRONDELETE", name="c")
    audited.ask("WEBHOOK", url="https://example.org/secret?secret=1", events=["failed"], secret="secret")
    told = [
        (action["action"], action["target"], action["detail"], action["by"])
        for action in audited.ask("AUDITLOG")["audit"]
    ]
    assert told == [
        ("WEBHOOK", None, '{"events":["failed"],"host":"example.org"}', "ada"),
        ("CRONDELETE", "c", None, "ada"),
        ("CRON", "q", '{"name":"c","priority":0,"schedule":"*/5"}', "ada"),
        ("RATELIMIT", "q", '{"limit":5}', "ada"),
    ]


def test_what_was_refused_is_no_action(audited: Desk) -> None:
    """Nothing was done."""
    with pytest.raises(NotFound):
        audited.ask("CRONDELETE", name="none")
    audited.session.allowed = frozenset()
    with pytest.raises(Forbidden):
        audited.ask("PAUSE", queue="q")
    audited.session.allowed = None
    assert audited.ask("AUDITLOG") == {"audit": [], "cursor": None}


def test_pages(audited: Desk) -> None:
    """The cursor of a page leads to the next."""
    for queue in "abc":
        audited.ask("PAUSE", queue=queue)
    page = audited.ask("AUDITLOG", limit=2)
    assert [action["target"] for action in page["audit"]] == ["c", "b"]
    page = audited.ask("AUDITLOG", limit=2, cursor=page["cursor"])
    assert [action["target"] for action in page["audit"]] == ["a"]
    assert page["cursor"] is None
    assert audited.ask("AUDITLOG", since=audited.now.wall + 1)["audit"] == []


def test_a_server_that_leaves_refuses(audited: Desk) -> None:
    """A question that is not answered any more is refused, not answered with nothing."""
    asked: list[Any] = []
    assert audited.context.archive is not None
    audited.context.archive.ask = lambda *question: asked.append(question)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="not enough values"):
        audited.ask("HISTORY", id=1)
    ((token, *_),) = asked
    with pytest.raises(ShuttingDown):
        audited.parked[token].over()


def test_operators_are_watched() -> None:
    """Every command of theirs that does something is an action; a new one without a line of its own."""
    watched = {COMMANDS[request].name for request in ACTIONS}
    operators = {command.name for command in COMMANDS.values() if command.role in ("operator", "admin")}
    assert operators - watched == {"AUDITLOG", "WEBHOOKLIST"}
    assert {"PAUSE", "RESUME", "RATELIMIT", "CRON", "CRONDELETE", "PURGEDLQ", "SHUTDOWN"} <= watched
