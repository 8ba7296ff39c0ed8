"""Unit tests of `flashq.commands.execute`."""

import pytest
from tests.unit.commands.desk import Desk

from flashq.commands.execute import permit, speak_for
from flashq.commands.session import Session
from flashq.commands.table import BEFORE_AUTH, COMMANDS
from flashq.errors import Forbidden, NotFound, ShuttingDown, Unauthorized
from flashq.protocol.requests import Ping, Push


def test_before_a_token(desk: Desk) -> None:
    """Everything but AUTH is refused, and nothing has changed."""
    desk.session.allowed = BEFORE_AUTH
    with pytest.raises(Unauthorized, match=r"^Authentication required$"):
        desk.ask("PUSH", queue="q", data=1)
    assert desk.ask("AUTH", token="x") == {}
    assert desk.ask("STATS")["queued"] == 0


@pytest.mark.parametrize(("request_type", "command"), COMMANDS.items(), ids=[c.name for c in COMMANDS.values()])
def test_a_role_that_is_too_weak(desk: Desk, request_type: type, command: object) -> None:
    """The refusal names the command and the role that it takes; what is allowed is carried out."""
    name, _, role = command  # type: ignore[misc]
    desk.session.allowed = frozenset(COMMANDS) - {request_type}
    members = {
        "queue": "q", "queues": ["q"], "data": 1, "jobs": [], "count": 1, "timeout": 0, "id": 1, "ids": [],
        "progress": 1, "job_id": "x", "events": [], "name": "n", "schedule": "* * * * *", "limit": 1, "worker": "w",
        "token": "t", "url": "https://example.org/",
    }  # fmt: skip
    if name == "PUSHFLOW":
        members["jobs"] = [{"queue": "q", "data": 1}]
    if name == "WEBHOOK":
        members["events"] = ["*"]
    if name == "WEBHOOKDELETE":
        members["id"] = "w"
    with pytest.raises(Forbidden, match=f"^Forbidden: {name} needs role {role}$"):
        desk.ask(name, **members)


def test_a_role_that_is_strong_enough(desk: Desk) -> None:
    """What is allowed works, and only that."""
    desk.session.allowed = frozenset({Push, Ping})
    assert desk.ask("PUSH", queue="q", data=1) == {"id": 1}
    with pytest.raises(Forbidden):
        desk.ask("PULL", queue="q", timeout=0)


def test_what_is_no_command_needs_the_role_of_one() -> None:
    """Whoever may send the command may; the refusals are those of the command."""
    session = Session()
    permit(session, Push)
    session.allowed = frozenset({Push})
    permit(session, Push)
    with pytest.raises(Forbidden, match=r"^Forbidden: PING needs role viewer$"):
        permit(session, Ping)
    session.allowed = BEFORE_AUTH
    with pytest.raises(Unauthorized):
        permit(session, Push)


def test_while_shutting_down(desk: Desk) -> None:
    """No command takes effect any more, reads included: their answers could not be waited for."""
    desk.context.closing = True
    for cmd in ("PUSH", "PING"):
        with pytest.raises(ShuttingDown):
            desk.ask(cmd, queue="q", data=1)
    assert desk.engine.queues.by_name == {}


def test_a_session_speaks_for_a_worker(desk: Desk) -> None:
    """One that has said hello, and no other."""
    desk.ask("HELLO", worker="w")
    session = Session()
    speak_for(desk.context, session, "w")
    assert session.worker is desk.session.worker
    with pytest.raises(NotFound, match="Worker 'v' not found"):
        speak_for(desk.context, session, "v")
