"""Unit tests of `flashq.commands.execute`."""

import pytest
from tests.unit.commands.desk import Desk

from flashq.commands.execute import over, permit, speak_for
from flashq.commands.parked import Parked
from flashq.commands.session import Session
from flashq.commands.table import BEFORE_AUTH, COMMANDS, WITHOUT_STORAGE, Command
from flashq.errors import Forbidden, NotFound, ShuttingDown, StorageError, Unauthorized
from flashq.protocol.replies import Reply
from flashq.protocol.requests import Ping, Push
from flashq.security.identity import Identity, Scope

MEMBERS = {
    "queue": "q", "queues": ["q"], "data": 1, "jobs": [], "count": 1, "timeout": 0, "id": 1, "ids": [],
    "progress": 1, "job_id": "x", "events": [], "name": "n", "schedule": "* * * * *", "limit": 1, "worker": "w",
    "token": "t", "url": "https://example.org/",
}  # fmt: skip


def _members(name: str) -> dict[str, object]:
    """What any command of this name may say."""
    members = dict[str, object](MEMBERS)
    if name == "PUSHFLOW":
        members["jobs"] = [{"queue": "q", "data": 1}]
    if name == "WEBHOOK":
        members["events"] = ["*"]
    if name == "WEBHOOKDELETE":
        members["id"] = "w"
    return members


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
    with pytest.raises(Forbidden, match=f"^Forbidden: {name} needs role {role}$"):
        desk.ask(name, **_members(name))


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
    desk.context.close()
    for cmd in ("PUSH", "PING"):
        with pytest.raises(ShuttingDown):
            desk.ask(cmd, queue="q", data=1)
    assert desk.engine.queues.by_name == {}


@pytest.mark.parametrize(("request_type", "command"), COMMANDS.items(), ids=[c.name for c in COMMANDS.values()])
def test_while_storage_is_away(desk: Desk, request_type: type, command: Command) -> None:
    """What changes a job, or shows one, is refused and has changed nothing; it is taken when the storage is back."""
    desk.context.set_away(True)
    if request_type in WITHOUT_STORAGE:
        assert command.name not in ("PUSH", "PULL", "ACK", "GETJOB", "HELLO", "BEAT")
        return
    with pytest.raises(StorageError, match="does not answer: this was not carried out"):
        desk.ask(command.name, **_members(command.name))
    assert desk.engine.queues.by_name == {}
    assert not desk.engine.workers


def test_how_it_is_can_be_asked_while_storage_is_away(desk: Desk) -> None:
    """And afterwards everything can."""
    desk.context.set_away(True)
    assert desk.ask("PING") == {}
    assert desk.ask("STATS")["queued"] == 0
    desk.context.set_away(False)
    assert desk.ask("PUSH", queue="q", data=1) == {"id": 1}


def test_a_wait_that_ends_while_storage_is_away_is_refused(desk: Desk) -> None:
    """Its answer would tell of what may never be true."""
    parked = Parked(lambda *_: None, lambda _: Reply(), Reply)
    assert over(desk.context, parked) == Reply()
    desk.context.set_away(True)
    with pytest.raises(StorageError):
        over(desk.context, parked)


def test_a_session_speaks_for_a_worker(desk: Desk) -> None:
    """One that has said hello, and no other."""
    desk.ask("HELLO", worker="w")
    session = Session()
    speak_for(desk.context, session, "w")
    assert session.worker is desk.session.worker
    with pytest.raises(NotFound, match="Worker 'v' not found"):
        speak_for(desk.context, session, "v")
