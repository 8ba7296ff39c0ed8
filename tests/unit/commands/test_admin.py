"""Unit tests of `flashq.commands.admin`."""

from collections.abc import Hashable

import pytest
from tests.unit.commands.desk import Desk

from flashq.commands.admin import EVENT_TYPES
from flashq.commands.execute import execute
from flashq.commands.parked import Parked
from flashq.commands.session import Session
from flashq.commands.table import BEFORE_AUTH
from flashq.errors import BadRequest, FlashQError, NotFound, ShuttingDown, StorageFull, Unauthorized
from flashq.model import Instant
from flashq.protocol.replies import BackupView, EndedAttempts, SettingsView
from flashq.protocol.requests import Backup
from flashq.security.access import Access


class Ear:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def tell(self, event: bytes) -> None:
        """Take one event."""
        self.heard.append(event)


def test_auth_sets_what_the_session_may_do(desk: Desk) -> None:
    """A right token says who this is; a wrong one changes nothing."""
    desk.context.access = Access(["right"])
    desk.session = Session(BEFORE_AUTH)
    with pytest.raises(Unauthorized):
        desk.ask("AUTH", token="wrong")
    assert (desk.session.allowed, desk.session.identity) == (BEFORE_AUTH, None)
    desk.ask("AUTH", token="right")
    assert desk.session.allowed is None
    assert desk.session.identity is not None
    assert desk.session.identity.name == "auth-token-1"


def test_a_door_that_cannot_carry_events(desk: Desk) -> None:
    """Subscribing there is refused: the events would go nowhere."""
    for cmd in ("SUBSCRIBE", "UNSUBSCRIBE"):
        with pytest.raises(BadRequest, match="cannot carry events"):
            desk.ask(cmd, queue="q")


def test_nothing_is_made_for_nobody(desk: Desk) -> None:
    """While nobody listens the engine makes no events."""
    ear = Ear()
    desk.session = Session(subscriber=ear)
    desk.ask("PUSH", queue="q", data=1)
    assert desk.engine.outbox.events == []
    desk.ask("SUBSCRIBE", queue="*")
    desk.ask("PUSH", queue="q", data=1)
    assert [event.event_type for event in desk.engine.outbox.events] == ["pushed"]
    desk.ask("UNSUBSCRIBE", queue="*")
    desk.ask("PUSH", queue="q", data=1)
    assert len(desk.engine.outbox.events) == 1


def test_event_types_are_checked(desk: Desk) -> None:
    """All that there are may be named; one that there is not is named in the refusal, cut short."""
    desk.session = Session(subscriber=Ear())
    desk.ask("SUBSCRIBE", queue="q", events=sorted(EVENT_TYPES))
    with pytest.raises(BadRequest, match=r"unknown event type 'x{40}'") as caught:
        desk.ask("SUBSCRIBE", queue="q", events=["pushed", "x" * 10_000])
    assert len(str(caught.value)) < 200


def test_a_worker_that_says_goodbye_is_no_longer_the_session_s(desk: Desk) -> None:
    """Jobs pulled afterwards are nobody's in particular."""
    desk.ask("HELLO", worker="w")
    assert desk.session.worker is not None
    desk.ask("BYE", worker="w")
    assert desk.session.worker is None
    with pytest.raises(NotFound, match="'w'"):
        desk.ask("BEAT", worker="w")


def test_a_beat_that_waits(desk: Desk) -> None:
    """What has happened is answered at once; otherwise it waits, ten seconds at the most."""
    desk.ask("HELLO", worker="w")
    desk.ask("PUSH", queue="q", data=1)
    token = desk.ask("PULL", queue="q")["job"]["token"]
    assert desk.ask("BEAT", worker="w") == {}
    assert desk.ask("BEAT", worker="w", wait=0) == {"ended": []}
    desk.ask("CANCEL", id=1)
    assert desk.ask("BEAT", worker="w") == {}
    ended = {"ended": [{"id": 1, "token": token, "reason": "cancelled"}]}
    assert desk.ask("BEAT", worker="w", wait=50) == ended
    parked = desk.parked[desk.ask("BEAT", worker="w", wait=60_000)["parked"]]
    assert [due - desk.now.steady for due, _, _ in desk.engine.clocks.waits.entries()] == [10_000]
    assert parked.over() == EndedAttempts(ended=[])
    assert not parked.in_line
    desk.ask("BYE", worker="w")
    with pytest.raises(NotFound, match=r"^Worker 'w' not found$"):
        parked.over()


def test_a_bad_queue_name_in_hello_registers_nobody(desk: Desk) -> None:
    """All names are checked before anything is changed."""
    with pytest.raises(BadRequest):
        desk.ask("HELLO", worker="w", queues=["good", "not good"])
    assert desk.ask("WORKERS") == {"workers": []}
    assert desk.session.worker is None


class House:
    """A process that says how it was set up and remembers that it was asked to leave."""

    def __init__(self, storage: str = "sqlite") -> None:
        self.left: list[int] = []
        self._storage = storage

    def settings(self, now: Instant) -> SettingsView:
        """Made up."""
        return SettingsView(
            *("1", "localhost", 1, 2, None, self._storage, "full"),
            auth=True,
            tls=False,
            exposed=False,
            uptime_ms=now.steady,
        )

    def leave(self, exit_code: int) -> None:
        """Remember it."""
        self.left.append(exit_code)


class Copies:
    """Makes a backup at once, or fails."""

    def __init__(self, desk: Desk, outcome: BackupView | FlashQError) -> None:
        self._desk = desk
        self._outcome = outcome

    def begin(self, token: Hashable, now: Instant) -> None:
        """Deliver it."""
        self._desk.engine.outbox.deliver(token, self._outcome)


def test_a_backup(desk: Desk) -> None:
    """It is answered with what was made; what it failed for is the refusal."""
    made = BackupView(path="made.db", bytes=4_096, group=7, took_ms=5)
    desk.context.backups = Copies(desk, made)
    assert desk.ask("BACKUP") == {"backup": {"path": "made.db", "bytes": 4_096, "group": 7, "took_ms": 5}}
    desk.context.backups = Copies(desk, StorageFull("no room"))
    with pytest.raises(StorageFull, match="no room"):
        desk.ask("BACKUP")


def test_a_backup_is_given_up_when_the_server_leaves(desk: Desk) -> None:
    """Whoever waits for it is told."""
    desk.context.backups = Copies(desk, BackupView(path="made.db", bytes=1, group=1, took_ms=1))
    parked = execute(desk.context, desk.session, Backup(), desk.now)
    assert isinstance(parked, Parked)
    with pytest.raises(ShuttingDown):
        parked.over()


@pytest.mark.parametrize(("storage", "instead"), [("memory", "in memory only"), ("postgres", "pg_dump")])
def test_where_there_is_nothing_to_back_up(desk: Desk, storage: str, instead: str) -> None:
    """The refusal says why, or what to do instead."""
    desk.context.host = House(storage)
    with pytest.raises(BadRequest, match=instead):
        desk.ask("BACKUP")


def test_the_process_is_asked(desk: Desk) -> None:
    """For its settings, its nodes and its end; a server inside another program has no end of its own."""
    house = House()
    for command in ("SETTINGS", "NODES", "SHUTDOWN", "RESTART", "BACKUP"):
        with pytest.raises(BadRequest, match="part of another program"):
            desk.ask(command)
    desk.context.host = house
    assert desk.ask("SETTINGS")["settings"]["auth"] is True
    assert desk.ask("NODES")["nodes"][0]["host"] == "localhost"
    desk.ask("SHUTDOWN")
    desk.ask("RESTART")
    assert house.left == [0, 100]
