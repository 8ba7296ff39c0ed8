"""Unit tests of `flashq.commands.table`."""

from itertools import pairwise

import pytest

from flashq.commands.table import ALLOWED, BEFORE_AUTH, COMMANDS, Command
from flashq.protocol.requests import REQUEST_TYPES, Auth, Pause, Ping, Pull, Push
from flashq.security.identity import ROLES


def test_every_request_is_a_command_and_every_command_a_request() -> None:
    """What decodes can be carried out, and nothing else is in the table."""
    assert set(COMMANDS) == set(REQUEST_TYPES)
    assert len({command.name for command in COMMANDS.values()}) == len(REQUEST_TYPES)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.name)
def test_rows(command: Command) -> None:
    """A name in upper case without underscores, a known role, and a function that says which command it is."""
    assert command.name.isupper()
    assert command.name.isalnum()
    assert command.role in ("anyone", *ROLES)
    assert command.run.__doc__ == f"{command.name}."


def test_only_auth_comes_before_auth() -> None:
    """Nothing else works for those who have shown no token."""
    assert frozenset({Auth}) == BEFORE_AUTH


def test_each_role_may_what_the_weaker_ones_may() -> None:
    """From viewer to admin each set holds the one before it; the last is everything."""
    sets = [ALLOWED[role] or frozenset(COMMANDS) for role in ROLES]
    assert all(weaker < stronger or weaker == stronger for weaker, stronger in pairwise(sets))
    assert list(ALLOWED) == list(ROLES)
    assert ALLOWED["admin"] is None


@pytest.mark.parametrize(("request_type", "rank"), [(Auth, 0), (Ping, 0), (Push, 1), (Pull, 2), (Pause, 3)])
def test_where_a_right_begins(request_type: type, rank: int) -> None:
    """The role that the row names is the weakest that has it."""
    assert [request_type in (ALLOWED[role] or COMMANDS) for role in ROLES] == [n >= rank for n in range(5)]
