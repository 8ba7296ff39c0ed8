"""Unit tests of `flashq.commands.session`."""

from tests.unit.commands.desk import Desk

from flashq.commands.session import Context, Session
from flashq.commands.table import BEFORE_AUTH


def test_a_new_session_may_do_everything_and_is_nobody() -> None:
    """Restrictions, a worker and events come later, if at all."""
    session = Session()
    assert (session.allowed, session.worker, session.subscriber) == (None, None, None)
    assert Session(BEFORE_AUTH).allowed == BEFORE_AUTH


def test_without_tokens_any_token_is_right(desk: Desk) -> None:
    """A context without authentication allows everything to everybody, and is open."""
    context = Context(desk.engine, desk.hub)
    assert context.authenticate("anything") is None
    assert context.closing is False
