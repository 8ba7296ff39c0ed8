"""Unit tests of `flashq.security.access`."""

import logging

import pytest

from flashq.errors import Overloaded, Unauthorized
from flashq.logs import TextFormatter
from flashq.security import access as access_module
from flashq.security.access import QUIET_MS, Access
from flashq.security.identity import Scope
from flashq.security.throttle import FREE_FAILURES, PAUSE_MS
from flashq.security.tokenfile import TokenRow, make_row

HERE, THERE = "192.0.2.1", "192.0.2.2"
RIGHTS = {"viewer": frozenset({int}), "worker": frozenset({int, str}), "admin": None}


def row(name: str, role: str = "viewer", queues: tuple[str, ...] | None = None) -> TokenRow:
    """A token that is the same as its name."""
    return make_row(name, role, queues, f"token-of-{name}", 1)


def guarded(*rows: TokenRow) -> Access:
    """With a fixed token and these of the file."""
    access = Access(["fixed"], RIGHTS)
    access.replace(rows)
    return access


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, as it is written."""
    caplog.set_level(logging.INFO)
    written: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(TextFormatter().format(record).split(" ", 1)[1])

    handler = Kept()
    logging.getLogger("flashq.security").addHandler(handler)
    yield written  # type: ignore[misc]
    logging.getLogger("flashq.security").removeHandler(handler)


def test_without_tokens_everybody_is_the_same_administrator() -> None:
    """Nothing has to be shown, and whatever is shown is right."""
    access = Access()
    assert access.anonymous is not None
    assert access.anonymous.allowed is None
    assert access.identify("anything", HERE, 0) is access.anonymous


def test_with_tokens_nobody_is_anonymous() -> None:
    """One has to be shown, and it has to be right."""
    access = Access(["one", "two"])
    assert access.anonymous is None
    assert access.identify("two", HERE, 0).name == "auth-token-2"
    with pytest.raises(Unauthorized, match=r"^Invalid token$"):
        access.identify("three", HERE, 0)


def test_rows_are_worth_what_they_say() -> None:
    """Name, role, what the role may send, and the queues; a fixed token stays an administrator's."""
    access = guarded(row("a", "worker", ("q*",)), row("b", "admin"))
    one, other = access.identify("token-of-a", HERE, 0), access.identify("token-of-b", HERE, 0)
    assert (one.name, one.role, one.allowed, one.scope) == ("a", "worker", {int, str}, Scope(("q*",)))
    assert (other.role, other.allowed, other.scope) == ("admin", None, None)
    assert access.identify("fixed", HERE, 0).role == "admin"


def test_a_change_revokes_what_changed_and_nothing_else() -> None:
    """What stayed the same is the same object; what went or means something else now is revoked."""
    access = guarded(row("stays"), row("goes"), row("grows"))
    stays, goes, grows = (access.identify(f"token-of-{name}", HERE, 0) for name in ("stays", "goes", "grows"))
    access.replace([row("stays"), row("grows", "worker")])
    assert [one.revoked for one in (stays, goes, grows)] == [False, True, True]
    assert access.identify("token-of-stays", HERE, 0) is stays
    assert access.identify("token-of-grows", HERE, 0).role == "worker"
    with pytest.raises(Unauthorized):
        access.identify("token-of-goes", HERE, 0)
    assert not access.identify("fixed", HERE, 0).revoked


def test_the_first_rows_end_the_time_of_anonymity() -> None:
    """Also when there are none: a file that is there asks for tokens."""
    access = Access()
    before = access.anonymous
    access.replace([])
    assert before is not None
    assert before.revoked
    assert access.anonymous is None
    with pytest.raises(Unauthorized):
        access.identify("", HERE, 0)


def test_guessing_is_slowed_down_and_tells_nothing_meanwhile() -> None:
    """After ten wrong ones from an address even the right token is refused there until a second has passed."""
    access = guarded(row("a"))
    for n in range(FREE_FAILURES):
        with pytest.raises(Unauthorized):
            access.identify(f"guess-{n}", HERE, 0)
    for token in ("guess", "token-of-a"):
        with pytest.raises(Overloaded):
            access.identify(token, HERE, PAUSE_MS - 1)
    assert access.identify("token-of-a", THERE, 0).name == "a"
    assert access.identify("token-of-a", HERE, PAUSE_MS).name == "a"


def test_those_who_were_there_before_are_not_locked_out() -> None:
    """Whoever came in from an address comes in again, however many wrong tokens come from the same one."""
    access = guarded(row("a"))
    access.identify("token-of-a", HERE, 0)
    for n in range(FREE_FAILURES):
        with pytest.raises(Unauthorized):
            access.identify(f"guess-{n}", HERE, 0)
    assert access.identify("token-of-a", HERE, 0).name == "a"


def test_what_is_logged(lines: list[str]) -> None:
    """Name and address, each once where the same comes again and again, and never a token."""
    access = guarded(row("a", "worker"))
    for _ in range(3):
        access.identify("token-of-a", HERE, 0)
    for n in range(FREE_FAILURES + 5):
        with pytest.raises((Unauthorized, Overloaded)):
            access.identify(f"guess-{n}", THERE, 0)
    for now_ms in (0, QUIET_MS - 1, QUIET_MS):
        access.denied(access.identify("token-of-a", HERE, 0), HERE, "PAUSE", now_ms)
    access.replace([])
    assert lines == [
        "INFO    flashq.security: auth ok name=a role=worker peer=192.0.2.1",
        *["WARNING flashq.security: auth failed: wrong token peer=192.0.2.2"] * FREE_FAILURES,
        "WARNING flashq.security: denied name=throttled peer=192.0.2.2 command=AUTH",
        *["WARNING flashq.security: denied name=a peer=192.0.2.1 command=PAUSE"] * 2,
        "WARNING flashq.security: token revoked or changed name=a",
    ]


def test_what_is_remembered_of_denials_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many commands and addresses there are."""
    monkeypatch.setattr(access_module, "MAX_DENIALS", 3)
    access = guarded()
    for n in range(10):
        access.denied(None, f"192.0.2.{n}", "PAUSE", n)
    assert len(access._denials) == 3
