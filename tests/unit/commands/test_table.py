"""Unit tests of `flashq.commands.table`."""

import pytest

from flashq.commands.table import BEFORE_AUTH, COMMANDS, Command
from flashq.protocol.requests import REQUEST_TYPES, Auth

ROLES = ("anyone", "viewer", "producer", "worker", "operator", "admin")


def test_every_request_is_a_command_and_every_command_a_request() -> None:
    """What decodes can be carried out, and nothing else is in the table."""
    assert set(COMMANDS) == set(REQUEST_TYPES)
    assert len({command.name for command in COMMANDS.values()}) == len(REQUEST_TYPES)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.name)
def test_rows(command: Command) -> None:
    """A name in upper case without underscores, a known role, and a function that says which command it is."""
    assert command.name.isupper()
    assert command.name.isalnum()
    assert command.role in ROLES
    assert command.run.__doc__ == f"{command.name}."


def test_only_auth_comes_before_auth() -> None:
    """Nothing else works for those who have shown no token."""
    assert frozenset({Auth}) == BEFORE_AUTH
