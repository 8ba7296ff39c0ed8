"""Unit tests of `flashq.cli.token`: the token file from the command line, without any server."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flashq.cli import exits
from flashq.cli.program import program as flashq
from flashq.security.tokenfile import load
from flashq.security.tokens import digest


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the environment says that the token file is."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("TOKENS_FILE", raising=False)
    return tmp_path / "data" / "tokens.json"


def run(*arguments: str) -> Result:
    """Run ``flashq token ...`` in this process."""
    return CliRunner().invoke(flashq, ["token", *arguments], prog_name="flashq")


def test_a_token_is_shown_once_and_kept_as_a_digest(path: Path) -> None:
    """What is printed is the token and nothing else, fit for a variable of a script."""
    made = run("create", "mailer", "--role", "worker", "--queue", "emails*", "--queue", "news")
    assert made.exit_code == 0
    token = made.stdout.rstrip("\n")
    (row,) = load(path)
    assert (row.name, row.role, row.queues, row.sha256) == (
        "mailer", "worker", ("emails*", "news"), digest(token).hex()
    )  # fmt: skip
    assert token not in path.read_text()
    assert token not in run("list").stdout


def test_list_says_what_they_are_worth(path: Path) -> None:
    """By name, for people and for programs; no digest is told."""
    assert run("list").stdout == "no tokens\n"
    run("create", "zoe", "--role", "admin")
    run("create", "amy", "--role", "viewer", "--queue", "q")
    lines = run("list").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["name", "role", "queues"],
        ["amy", "viewer", "q"],
        ["zoe", "admin", "all"],
    ]
    told = json.loads(run("list", "--json").stdout)
    assert [(one["name"], one["queues"], set(one)) for one in told] == [
        ("amy", ["q"], {"name", "role", "queues", "created_at"}),
        ("zoe", None, {"name", "role", "queues", "created_at"}),
    ]
    assert load(path)[0].sha256 not in run("list", "--json").stdout


def test_revoke(path: Path) -> None:
    """By its name; what is not there is told as such."""
    run("create", "a", "--role", "viewer")
    assert run("revoke", "a").stdout == "a revoked\n"
    assert load(path) == ()
    gone = run("revoke", "a")
    assert (gone.exit_code, gone.stderr) == (exits.NOTHING, "flashq: there is no token of the name a\n")


def test_revoking_makes_no_file(path: Path) -> None:
    """An empty file would lock everybody out of a server that trusts everybody."""
    assert run("revoke", "a").exit_code == exits.NOTHING
    assert not path.exists()


def test_another_file(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--file`` goes before TOKENS_FILE, and that before the data folder."""
    named, given = tmp_path / "named.json", tmp_path / "given.json"
    monkeypatch.setenv("TOKENS_FILE", str(named))
    run("create", "a", "--role", "viewer")
    run("create", "b", "--role", "viewer", "--file", str(given))
    assert [one.name for one in load(named)] == ["a"]
    assert [one.name for one in load(given)] == ["b"]
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["create", "a"], exits.USAGE, "Missing option '--role'"),
        (["create", "a", "--role", "root"], exits.USAGE, "'root' is not one of"),
        (["create", "a b", "--role", "viewer"], exits.USAGE, "a token's name is 1 to 64"),
        (["create", "a", "--role", "viewer", "--queue", "a/b"], exits.USAGE, "the pattern 'a/b'"),
        (["create", "there", "--role", "viewer"], exits.USAGE, "a token of the name there already"),
    ],
)
def test_what_may_not_be(path: Path, arguments: list[str], code: int, told: str) -> None:
    """Is told in one line, and changes nothing."""
    run("create", "there", "--role", "viewer")
    before = path.read_bytes()
    result = run(*arguments)
    assert result.exit_code == code
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("arguments", [["create", "a", "--role", "viewer"], ["list"], ["revoke", "a"]])
def test_a_broken_file(path: Path, arguments: list[str]) -> None:
    """Is named, and left as it is for whoever mends it."""
    path.parent.mkdir()
    path.write_text("{half")
    path.chmod(0o600)
    result = run(*arguments)
    assert result.exit_code == exits.FAILED
    assert "tokens.json" in result.stderr
    assert path.read_text() == "{half"


def test_a_broken_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting that is wrong is named: it is the server's, which would not start either."""
    monkeypatch.setenv("PORT", "many")
    result = run("list")
    assert (result.exit_code, result.stderr.split()[1]) == (exits.FAILED, "PORT")
    assert not path.exists()
