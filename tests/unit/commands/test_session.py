"""Unit tests of `flashq.commands.session`."""

from tests.unit.commands.desk import Desk

from flashq.commands.session import Context, Session
from flashq.commands.table import BEFORE_AUTH
from flashq.protocol.requests import Ping
from flashq.security.identity import Identity, Scope


def test_a_new_session_may_do_everything_and_is_nobody() -> None:
    """Restrictions, a worker and events come later, if at all."""
    session = Session()
    assert (session.allowed, session.scope, session.identity, session.worker, session.subscriber) == (None,) * 5
    assert Session(BEFORE_AUTH).allowed == BEFORE_AUTH


def test_who_shows_a_token_is_somebody() -> None:
    """The session may do from then on what its identity may, and that alone."""
    session = Session(BEFORE_AUTH)
    identity = Identity("mailer", "viewer", frozenset({Ping}), Scope(("emails",)))
    session.identify(identity)
    assert (session.identity, session.allowed, session.scope) == (identity, {Ping}, Scope(("emails",)))


def test_a_context_is_open_unless_told_otherwise(desk: Desk) -> None:
    """Without tokens everybody is an administrator, and no server is closing that has just begun."""
    context = Context(desk.engine, desk.hub)
    assert context.access.anonymous is not None
    assert (context.closing, context.away, context.barred) == (False, False, False)


def test_a_context_is_barred_while_anything_stands_in_the_way(desk: Desk) -> None:
    """A storage that comes back opens nothing that is closing."""
    context = Context(desk.engine, desk.hub)
    context.set_away(True)
    assert context.barred
    context.set_away(False)
    assert not context.barred
    context.set_away(True)
    context.close()
    context.set_away(False)
    assert context.barred
