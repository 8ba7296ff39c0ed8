"""Tokens at the lines door: who has none gets nowhere, and not far."""

import time
from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest
from tests.fakes.server_process import MEMORY, EndOfAnswers, LineClient, ServerProcess, line

from flashq.commands.table import COMMANDS
from flashq.transports.tcp import AUTH_BYTES, AUTH_SECONDS, AUTH_TRIES

REQUIRED = {"ok": False, "error": "Authentication required", "code": "unauthorized"}
WRONG = {"ok": False, "error": "Invalid token", "code": "unauthorized"}
OK = {"ok": True}
TOKENS = ("first-secret-of-two", "zweites-geheimnis-ü")

_addresses: Final = count(1)

MEMBERS: dict[str, object] = {
    "queue": "q", "queues": ["q"], "data": 0, "jobs": [{"queue": "q", "data": 0}], "count": 1,
    "timeout": 0, "id": 1, "ids": [], "progress": 1, "job_id": "x",
    "events": ["pushed"], "name": "n", "schedule": "* * * * *", "limit": 1, "worker": "w",
    "url": "http://127.0.0.1:1/",
}  # fmt: skip
"""Enough members for every command; those that are too many are ignored. The address is one that nobody may call."""


def members(cmd: str) -> dict[str, object]:
    """Those of a command: a webhook's id is a text."""
    return MEMBERS | ({"id": "x"} if cmd == "WEBHOOKDELETE" else {})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that asks for a token."""
    environment = {"AUTH_TOKENS": f" {TOKENS[0]} ,{TOKENS[1]},"}
    with ServerProcess(tmp_path_factory.mktemp("auth"), url=MEMORY, environment=environment) as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[LineClient]:
    """A connection that has shown nothing yet, from an address of which nobody has guessed."""
    with LineClient(("127.0.0.1", server.port), source=f"127.0.1.{next(_addresses)}") as client:
        yield client


@pytest.mark.parametrize("cmd", sorted(command.name for command in COMMANDS.values() if command.name != "AUTH"))
def test_nothing_without_a_token(client: LineClient, cmd: str) -> None:
    """Every command but AUTH is refused, and does nothing."""
    assert client.ask(cmd, **members(cmd)) == REQUIRED
    assert client.ok("AUTH", token=TOKENS[0]) == {}
    assert client.ok("LISTQUEUES")["queues"] == []
    assert client.ok("CRONLIST")["crons"] == []
    assert client.ok("WORKERS")["workers"] == []


@pytest.mark.parametrize("token", TOKENS)
def test_every_token_opens(client: LineClient, token: str) -> None:
    """Each of the tokens allows everything, also in one breath with what follows."""
    client.send_raw(line("AUTH", token=token, reqId="a") + line("PING") + line("STATS"))
    answers = client.receive_many(3)
    assert answers[:2] == [{"ok": True, "reqId": "a"}, OK]
    assert answers[2]["ok"] is True


@pytest.mark.parametrize(
    "token", ["", "first", TOKENS[0] + "x", TOKENS[0][:-1], TOKENS[0].upper(), f"{TOKENS[0]},{TOKENS[1]}", "x" * 3_000]
)
def test_wrong_tokens(client: LineClient, token: str) -> None:
    """Close is not enough; the connection stays for another try."""
    assert client.ask("AUTH", token=token) == WRONG
    assert client.ask("AUTH", token=TOKENS[0]) == OK
    assert client.ask("PING") == OK


def test_three_tries(client: LineClient) -> None:
    """The third refusal is the last answer."""
    assert [client.ask("AUTH", token=str(n)) for n in range(AUTH_TRIES)] == [WRONG] * AUTH_TRIES
    with pytest.raises((EndOfAnswers, ConnectionResetError, BrokenPipeError)):
        client.ask("AUTH", token=TOKENS[0])


def test_three_tries_in_one_breath(client: LineClient) -> None:
    """Guesses that come in one piece are no more than those that come one by one, though the right one is there."""
    guesses = [line("AUTH", token=str(n)) for n in range(20)]
    client.send_raw(b"".join([*guesses, line("AUTH", token=TOKENS[0]), line("PUSH", queue="q", data=0)]))
    assert client.rest() == [WRONG] * AUTH_TRIES


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_four_kibibytes(client: LineClient, end: bytes) -> None:
    """Who has shown nothing may not send much, in one line or in part of one."""
    client.send_raw(b"x" * (AUTH_BYTES + 1) + end)
    answers = client.rest()
    assert answers[-1] == REQUIRED
    assert len(answers) <= 2


def test_more_is_allowed_after_the_token(client: LineClient) -> None:
    """The bound ends with the token, also within one piece."""
    client.send_raw(line("AUTH", token=TOKENS[0]) + line("PING", more="x" * 100_000) * 3)
    assert client.receive_many(4) == [OK] * 4


def test_a_wrong_token_later_takes_nothing_away(client: LineClient) -> None:
    """Who has shown a token stays who it was after a wrong one."""
    client.ok("AUTH", token=TOKENS[0])
    assert client.ask("AUTH", token="wrong") == WRONG
    assert client.ask("PING") == OK


def test_one_connection_opens_nothing_for_another(server: ServerProcess, client: LineClient) -> None:
    """A token is shown by each connection for itself."""
    with server.client() as other:
        other.ok("AUTH", token=TOKENS[0])
        assert client.ask("PING") == REQUIRED


@pytest.mark.slow
def test_ten_seconds(server: ServerProcess) -> None:
    """Who shows nothing for ten seconds is told so and closed; who has shown a token may be silent."""
    with server.client() as proven:
        proven.ok("AUTH", token=TOKENS[0])
        began = time.monotonic()  # before the server begins to count
        with server.client() as client:
            assert client.rest() == [REQUIRED]
        assert AUTH_SECONDS - 1 < time.monotonic() - began < AUTH_SECONDS + 5
        assert proven.ask("PING") == OK


def test_tokens_stay_secret(server: ServerProcess) -> None:
    """Neither what is right nor what was tried stands in the log."""
    with server.client() as client:
        client.ask("AUTH", token="tried-this-one")
    log = server.errors()
    assert "tried-this-one" not in log
    assert not [token for token in TOKENS if token in log]
