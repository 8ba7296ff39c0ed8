"""Unit tests of `flashq.commands.execute`."""

import pytest
from tests.unit.commands.desk import Desk

from flashq.commands.execute import permit, speak_for
from flashq.commands.session import Session
from flashq.commands.table import BEFORE_AUTH, COMMANDS
from flashq.errors import Forbidden, NotFound, ShuttingDown, Unauthorized
from flashq.protocol.requests import Ping, Push
from flashq.security.identity import Identity, Scope


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


def test_what_is_no_command_needs_the_role_of_one(desk: Desk) -> None:
    """Whoever may send the command, for all queues, may; the refusals are those of the command."""
    session = Session()
    permit(desk.context, session, Push, desk.now)
    session.allowed = frozenset({Push})
    permit(desk.context, session, Push, desk.now)
    with pytest.raises(Forbidden, match=r"^Forbidden: PING needs role viewer$"):
        permit(desk.context, session, Ping, desk.now)
    session.scope = Scope(("mine",))
    with pytest.raises(Forbidden, match=r"needs a token for all queues$"):
        permit(desk.context, session, Push, desk.now)
    session.allowed = BEFORE_AUTH
    with pytest.raises(Unauthorized):
        permit(desk.context, session, Push, desk.now)


def test_what_is_no_command_is_denied_in_the_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Who was refused it, for its role or for its queues, stands in the security log under the command's name."""
    session = Session(peer="192.0.2.1")
    for name, allowed, scope in (("weak", frozenset({Ping}), None), ("narrow", None, Scope(("mine",)))):
        session.identify(Identity(name, "viewer", allowed, scope))
        with pytest.raises(Forbidden):
            permit(desk.context, session, Push, desk.now)
    denied = [(record.message, record.flashq) for record in caplog.records]  # type: ignore[attr-defined]
    assert denied == [("denied", {"name": name, "peer": "192.0.2.1", "command": "PUSH"}) for name in ("weak", "narrow")]


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
