"""Who may do what, on every door: roles, queues, and tokens that come and go while the server runs."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import MEMORY, Answer, LineClient, ServerProcess
from tests.integration.test_auth import members

from flashq.commands.table import ALLOWED, COMMANDS
from flashq.security.identity import ROLES
from flashq.security.tokenfile import TokenRow, change, make_row

DOORS = ("tcp", "unix", "http")
REVOKED = {"ok": False, "error": "Token revoked", "code": "unauthorized"}
REQUIRED = {"ok": False, "error": "Authentication required", "code": "unauthorized"}
NOTICE_SECONDS = 5

Ask = Callable[..., Answer]


def token_of(name: str) -> str:
    """The token of a name. Nobody guesses it, and every test finds it in a log."""
    return f"canary-{name}-canary"


def row(name: str, role: str, *queues: str) -> TokenRow:
    """What the file says of it."""
    return make_row(name, role, queues or None, token_of(name), 1)


def write(server: ServerProcess, *rows: TokenRow) -> Path:
    """Make these the rows of the server's token file."""
    path = server.data / "tokens.json"
    change(path, lambda _: rows)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a token for each role, and one for some queues."""
    process = ServerProcess(tmp_path_factory.mktemp("access"), url=MEMORY, unix=True)
    write(process, *(row(role, role) for role in ROLES), row("mailer", "operator", "emails*"))
    with process:
        yield process
    said = process.errors()
    assert "auth ok name=" in said
    assert "canary" not in said


@pytest.fixture
def ask_as(server: ServerProcess) -> Iterator[Callable[[str, str], Ask]]:
    """Gives for a door and a name the way to ask as that one."""
    clients: list[LineClient | HttpClient] = []

    def over(door: str, name: str) -> Ask:
        if door == "http":
            client = HttpClient(server.http_port, token_of(name))
            clients.append(client)

            def ask(cmd: str, **members: Any) -> Answer:
                answer: Answer = client.ask("POST", "/commands", {"cmd": cmd, **members}).json
                return answer

            return ask
        line = server.client() if door == "tcp" else server.unix_client()
        clients.append(line)
        line.ok("AUTH", token=token_of(name))
        return line.ask

    yield over
    for client in clients:
        client.close()


ENDS_THE_SERVER = {"SHUTDOWN", "RESTART"}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("role", ROLES)
def test_every_command_in_every_role(ask_as: Callable[[str, str], Ask], door: str, role: str) -> None:
    """A role may exactly what the table of commands says, and is told which role it would take."""
    ask = ask_as(door, role)
    for request, command in COMMANDS.items():
        if command.name == "AUTH" or (role == "admin" and command.name in ENDS_THE_SERVER):
            continue
        answer = ask(command.name, **members(command.name))
        allowed = ALLOWED[role]
        if allowed is None or request in allowed:
            assert answer.get("code") not in ("forbidden", "unauthorized"), (command.name, answer)
        else:
            refusal = f"Forbidden: {command.name} needs role {command.role}"
            assert answer == {"ok": False, "error": refusal, "code": "forbidden"}


@pytest.mark.parametrize("door", DOORS)
def test_nothing_without_a_token(server: ServerProcess, door: str) -> None:
    """A token file asks for a token on every door."""
    if door == "http":
        with HttpClient(server.http_port) as client:
            assert client.ask("POST", "/commands", {"cmd": "PING"}).status == 401
    else:
        with server.client() if door == "tcp" else server.unix_client() as line:
            assert line.ask("PING") == REQUIRED


@pytest.mark.parametrize("door", DOORS)
def test_a_token_for_some_queues(ask_as: Callable[[str, str], Ask], door: str) -> None:
    """It works on its own as ever, and others' are not there."""
    own, everyone = ask_as(door, "mailer"), ask_as("tcp", "admin")
    foreign = everyone("PUSH", queue="payments", data=1)["id"]
    assert own("PUSH", queue="payments", data=1) == {
        "ok": False, "error": "Forbidden: this token is not for queue 'payments'", "code": "forbidden"
    }  # fmt: skip
    assert own("GETJOB", id=foreign) == {"ok": True, "job": None, "state": "unknown"}
    assert own("CANCEL", id=foreign)["code"] == "not_found"
    id = own("PUSH", queue="emails-eu", data=1)["id"]
    assert own("GETSTATE", id=id)["state"] == "waiting"
    assert {queue["name"] for queue in own("LISTQUEUES")["queues"]} == {"emails-eu"}
    assert own("CANCEL", id=id) == {"ok": True}


def test_a_revoked_token_ends_what_is_open(tmp_path: Path) -> None:
    """Lines are told and closed, calls that wait are refused, and a job that comes then is not handed to them."""
    server = ServerProcess(tmp_path, url=MEMORY, unix=True)
    write(server, row("leaving", "worker"), row("staying", "admin"))
    with server, server.client() as tcp, server.unix_client() as unix, server.client() as staying:
        staying.ok("AUTH", token=token_of("staying"))
        for line in (tcp, unix):
            line.ok("AUTH", token=token_of("leaving"))
        tcp.send("PULL", queue="q")
        assert tcp.ask("PING", reqId="behind it")["ok"]  # so it waits by now
        with HttpClient(server.http_port, token_of("leaving")) as http:
            http.send("POST", "/queues/q/pull", {"timeout": 60_000})
            write(server, row("staying", "admin"))
            began = time.monotonic()
            assert tcp.rest() == [{"ok": True, "job": None}, REVOKED]
            assert unix.rest() == [REVOKED]
            assert http.receive().status == 401
            assert time.monotonic() - began < NOTICE_SECONDS
            assert http.ask("GET", "/queues").status == 401
        staying.ok("PUSH", queue="q", data=1)
        assert staying.ok("STATS")["queued"] == 1
        with server.client() as again:
            assert again.refused("AUTH", token=token_of("leaving")) == ("unauthorized", "Invalid token")
        assert "token revoked or changed name=leaving" in server.errors()


def test_the_first_token_ends_the_time_of_openness(tmp_path: Path) -> None:
    """A server that trusted everybody asks for tokens once there is a file, and lets go whoever has shown none."""
    with ServerProcess(tmp_path, url=MEMORY) as server, server.client() as early:
        assert early.ask("PING") == {"ok": True}
        write(server, row("first", "viewer"))
        assert early.rest() == [REVOKED]
        with server.client() as late:
            assert late.ask("PING") == REQUIRED
            assert late.ok("AUTH", token=token_of("first")) == {}
            assert late.ask("PING") == {"ok": True}


def test_a_file_that_breaks_while_serving_changes_nothing(tmp_path: Path) -> None:
    """What was read before stays, also when the file is gone; it is told loudly; once it is whole it counts."""
    server = ServerProcess(tmp_path, url=MEMORY)
    path = write(server, row("old", "admin"))
    with server, server.client() as client:
        client.ok("AUTH", token=token_of("old"))
        path.write_text("{half of it")
        _await(lambda: "tokens not reloaded, those from before stay" in server.errors())
        path.unlink()
        _await(lambda: "No such file" in server.errors())
        assert client.ask("PING") == {"ok": True}
        with server.client() as other:
            assert other.ask("PING") == REQUIRED
            other.ok("AUTH", token=token_of("old"))
        write(server, row("new", "admin"))
        assert client.rest() == [REVOKED]


def test_a_signal_reloads_at_once(tmp_path: Path) -> None:
    """SIGHUP reads the file, and the server goes on."""
    server = ServerProcess(tmp_path, url=MEMORY)
    write(server, row("old", "admin"))
    with server, server.client() as client:
        client.ok("AUTH", token=token_of("old"))
        os.kill(server.pid, signal.SIGHUP)
        _await(lambda: "tokens reloaded" in server.errors())
        assert client.ask("PING") == {"ok": True}


def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """In one line that names it; one that is named has to be there."""
    missing = tmp_path / "nowhere.json"
    server = ServerProcess(tmp_path / "missing", url=MEMORY, environment={"TOKENS_FILE": str(missing)})
    assert server.run_to_end() == (1, f"flashq: cannot start: {missing}: No such file or directory\n")
    broken = ServerProcess(tmp_path / "broken", url=MEMORY)
    write(broken, row("a", "admin")).write_text('{"tokens": [{}]}')
    code, said = broken.run_to_end()
    assert code == 1
    assert "tokens.json: Object missing required field" in said


def test_guessing_is_slowed_down_over_all_connections(tmp_path: Path) -> None:
    """Ten wrong tokens of one address are answered; the next is not looked at, on whichever door it comes."""
    server = ServerProcess(tmp_path, url=MEMORY, environment={"AUTH_TOKENS": token_of("right")})
    with server:
        # One more is looked at in each second that goes by: on a machine that stands still not exactly ten are.
        began = time.monotonic()
        codes: list[str] = []
        while "overloaded" not in codes:
            with server.client() as client:
                codes += [client.refused("AUTH", token="guess")[0] for _ in range(3)]
                assert client.rest() == []
            assert codes.count("unauthorized") <= 10 + time.monotonic() - began
        assert codes[:10] == ["unauthorized"] * 10
        assert set(codes) == {"unauthorized", "overloaded"}
        with HttpClient(server.http_port, "guess") as http:
            looked_at = codes.count("unauthorized")
            while (answer := http.ask("GET", "/queues")).status == 401:
                looked_at += 1
                assert looked_at <= 10 + time.monotonic() - began
            assert answer.status == 429
            assert answer.headers["retry-after"] == "1"
        _await(lambda: _opens(server))


def _opens(server: ServerProcess) -> bool:
    with server.client() as client:
        return client.ask("AUTH", token=token_of("right")) == {"ok": True}


def test_short_tokens_are_warned_of(tmp_path: Path) -> None:
    """A word is no token; the warning does not say which word."""
    for token, warned in (("fifteen-letters", True), ("sixteen--letters", False)):
        with ServerProcess(tmp_path / token, url=MEMORY, environment={"AUTH_TOKENS": token}) as server:
            assert ("AUTH_TOKENS holds a token of under 16" in server.errors()) is warned
            assert token not in server.errors()


def _await(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
