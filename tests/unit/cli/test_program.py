"""The program as a whole: its help, its options everywhere, its one-line errors. Nothing here needs a server."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result

from flashq.cli import exits, program
from flashq.cli.program import program as flashq

NOBODY = "flashq://127.0.0.1:1"


def run(*arguments: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(flashq, arguments, prog_name="flashq")


def verbs(
    command: click.Command = flashq, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command there is, with the words that lead to it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from verbs(found, (*path, name))


EVERY = list(verbs())


@pytest.mark.parametrize("path", [path for path, _ in EVERY], ids=" ".join)
def test_help(path: tuple[str, ...]) -> None:
    """Every command explains itself with an example that begins with its own name, on a line of its own."""
    shown = run(*path, "--help")
    assert shown.exit_code == 0
    words = " ".join(path)
    assert re.search(rf"^    .*flashq( --json)? {words}", shown.stdout, re.MULTILINE)
    assert "\\b" not in shown.stdout


@pytest.mark.parametrize("path", [path for path, _ in EVERY], ids=" ".join)
def test_options_are_everywhere(path: tuple[str, ...]) -> None:
    """--json works with every command; --url and --token with all but those that start a server or need none."""
    shown = run(*path, "--help").stdout
    assert "--json" in shown
    assert ("--url" in shown and "--token" in shown) is (
        path[:1] not in {("serve",), ("dev",), ("doctor",), ("export",), ("import",), ("token",)}
    )


def test_exit_codes_are_documented() -> None:
    """The help lists every exit code."""
    shown = run("--help").stdout
    assert all(f"  {code:3}  {text}" in shown for code, text in exits.LEGEND.items())


@pytest.mark.parametrize(
    "arguments",
    [("--url", NOBODY, "ping"), ("ping", "--url", NOBODY), ("--url", "flashq://elsewhere:1", "ping", "--url", NOBODY)],
)
def test_the_url_before_or_after_the_verb(arguments: tuple[str, ...]) -> None:
    """The option may stand on either side; the one nearer to the end wins. Nobody there is one line and code 1."""
    result = run(*arguments)
    assert result.exit_code == exits.FAILED
    assert result.stdout == ""
    assert result.stderr.startswith(f"flashq: no connection to {NOBODY}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--json", "ping"), ("ping", "--json")])
def test_errors_as_json(arguments: tuple[str, ...]) -> None:
    """With --json an error is a document too, on the error stream, so that the answer's stream holds only answers."""
    result = run("--url", NOBODY, *arguments)
    assert result.stdout == ""
    error = json.loads(result.stderr)
    assert error["code"] == "connection_lost"
    assert NOBODY in error["error"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["frobnicate"], "No such command 'frobnicate' (see 'flashq --help')"),
        (["queues", "burn"], "No such command 'burn' (see 'flashq queues --help')"),
        (["push"], "Missing argument 'QUEUE' (see 'flashq push --help')"),
        (["push", "q"], "give either DATA or --file"),
        (["push", "q", "1", "--file", "-"], "give either DATA or --file"),
        (["push", "q", "1", "--whole"], "--whole says what the lines of --file are"),
        (["push", "q", "--file", "-", "--job-id", "a"], "--job-id names one job"),
        (["push", "q", "--file", "-", "--unique-key", "a"], "--unique-key names one job"),
        (["push", "q", "--file", "no-such-file"], "'no-such-file': No such file or directory"),
        (["push", "q", "--file", "."], "Is a directory"),
        (["push", "q", "{]"], "not JSON: "),
        (["push", "q", "hello"], "a text needs quotes of its own"),
        (["push", "q", ""], "not JSON: there is nothing"),
        (["push", "q", "1", "--priority", "high"], "'high' is not a valid integer range"),
        (["push", "q", "1", "--priority", "2147483648"], "2147483648 is not in the range"),
        (["push", "q", "1", "--delay", "-1"], "-1 is not in the range"),
        (["push", "q", "1", "--delay", "1.5"], "'1.5' is not a valid integer range"),
        (["push", "q", "1", "--depends-on", "0"], "0 is not in the range"),
        (["push", "q", "1", "--colour", "red"], "No such option"),
        (["pull", "q", "--count", "0"], "0 is not in the range"),
        (["pull", "q", "--count", "10001"], "10001 is not in the range"),
        (["jobs", "get"], "give either ID or --custom-id"),
        (["jobs", "get", "1", "--custom-id", "a"], "give either ID or --custom-id"),
        (["jobs", "get", "x"], "'x' is not a valid integer range"),
        (["jobs", "get", "0"], "0 is not in the range"),
        (["jobs", "get", "9007199254740992"], "is not in the range"),
        (["jobs", "ack", "1", "nope"], "a text needs quotes"),
        (["jobs", "progress", "1", "101"], "101 is not in the range"),
        (["jobs", "progress", "1", "--message", "m"], "need PERCENT"),
        (["queues", "rate-limit", "q"], "give either LIMIT or --clear"),
        (["queues", "rate-limit", "q", "1", "--clear"], "give either LIMIT or --clear"),
        (["queues", "rate-limit", "q", "0"], "0 is not in the range"),
        (["queues", "concurrency", "q"], "give either LIMIT or --clear"),
        (["dlq", "purge", "q"], "nothing was removed: say --yes"),
        (["cron", "set", "a", "b"], "Missing argument 'SCHEDULE'"),
        (["events", "--count", "0"], "0 is not in the range"),
        (["bench", "--jobs", "0"], "0 is not in the range"),
        (["ping", "--url", ""], "must not be empty"),
        (["ping", "--token", ""], "must not be empty"),
    ],
)
def test_wrong_commands(arguments: list[str], sentence: str) -> None:
    """A wrong command is told in one line, ends with code 2 and needs no server to be seen as wrong."""
    result = run("--url", NOBODY, *arguments)
    assert result.exit_code == exits.USAGE
    assert sentence in result.stderr
    assert result.stderr.startswith("flashq: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:6789", "scheme in the FlashQ URL"),
        ("ftp://localhost", "ftp scheme in the FlashQ URL"),
        ("flashq://localhost:0", "the port must be a number from 1 to 65535"),
        ("flashq://localhost:99999", "the port"),
        ("flashq+unix://", "path of the socket"),
        ("flashq://s3cret@[::1", "cannot be read"),
    ],
)
def test_wrong_addresses(url: str, sentence: str) -> None:
    """An address that cannot be is a setting that is wrong: code 1, one line, and no token in it."""
    result = run("--url", url, "stats")
    assert result.exit_code == exits.FAILED
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert "s3cret" not in result.stderr


def test_the_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLASHQ_URL is used when no option names a server, and an option goes before it."""
    monkeypatch.setenv("FLASHQ_URL", "flashq://127.0.0.1:2")
    assert "flashq://127.0.0.1:2" in run("ping").stderr
    assert NOBODY in run("ping", "--url", NOBODY).stderr


def test_usage_errors_as_json() -> None:
    """A wrong value is told as a document too, when --json was understood before it."""
    result = run("--url", NOBODY, "push", "q", "1", "--json", "--priority", "x")
    assert json.loads(result.stderr)["code"] == "usage"


def test_arguments_that_are_not_utf8() -> None:
    """Bytes that are no text are refused in one line, wherever they stand."""
    for arguments in ([b"q", b'"\xff"'], [b"\xff", b"1"]):
        command = [sys.executable, "-m", "flashq", "--url", NOBODY, "push", *arguments]
        done = subprocess.run(command, capture_output=True, timeout=30)
        assert done.returncode in (exits.USAGE, exits.FAILED)
        assert done.stderr.count(b"\n") == 1


def test_no_arguments_at_all() -> None:
    """Somebody who types only the name is shown the help, and a script the code for a wrong command."""
    result = run()
    assert result.exit_code == exits.USAGE
    assert "Usage:" in result.stderr


def test_the_version() -> None:
    """The version can be asked for."""
    assert run("--version").stdout.startswith("flashq, version ")


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt is one line and the code that shells expect."""

    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(flashq.commands["ping"], "callback", interrupt)
    result = run("ping")
    assert result.exit_code == exits.INTERRUPTED
    assert result.stderr.strip() == "flashq: interrupted"


def test_without_the_server_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server's packages are missing, help still works and serve says which one to install."""

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named 'apsw' from {name}", name="apsw")

    monkeypatch.setattr(program, "import_module", missing)
    assert run("--help").exit_code == 0
    result = run("serve", "--port", "1")
    assert result.exit_code == exits.FAILED
    assert result.stderr == "flashq: apsw is not installed: install flashq-server with its extra [server]\n"


def test_a_fault_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing module of the product itself is a bug, and no reason to send people to install something."""

    def broken(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name}", name=name)

    monkeypatch.setattr(program, "import_module", broken)
    assert isinstance(run("serve").exception, ModuleNotFoundError)


def test_without_click() -> None:
    """Where only the client is installed, the command says in one line what it lacks, and the client works."""
    code = (
        "import sys; sys.modules['click'] = None\n"
        "import flashq; flashq.FlashQ\n"
        "from flashq.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == exits.FAILED
    assert done.stderr == "flashq: click is not installed: the command line needs flashq-server's extra [server]\n"


def test_verbs_do_not_load_the_server() -> None:
    """A push should not wait for the server's packages to be loaded."""
    code = (
        "import sys, flashq.cli.program; print([name for name in sys.modules if name in {'apsw', 'flashq.server.app'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "[]\n"
