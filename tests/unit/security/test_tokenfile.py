"""Unit tests of `flashq.security.tokenfile`."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from flashq.security.identity import ROLES
from flashq.security.tokenfile import (
    MAX_PATTERNS,
    MAX_TOKENS,
    PREFIX,
    TokenFileError,
    TokenRow,
    change,
    load,
    make_row,
    make_token,
)
from flashq.security.tokens import digest

ROW: dict[str, Any] = {"name": "a", "role": "worker", "queues": ["q*"], "sha256": "0" * 64, "created_at": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file may be; its folder is not there yet."""
    return tmp_path / "data" / "tokens.json"


def row(name: str) -> TokenRow:
    """A token of that name."""
    return make_row(name, "viewer", None, f"token of {name}", 5)


def write(path: Path, *rows: dict[str, Any], mode: int = 0o600) -> Path:
    """A file with these rows."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"tokens": rows}))
    path.chmod(mode)
    return path


def test_tokens_are_long_random_and_recognisable() -> None:
    """43 characters of 6 bits, of which 256 are drawn; no two are the same; and fit for an address."""
    made = {make_token() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(token.startswith(PREFIX) and len(token) == len(PREFIX) + 43 for token in made)
    assert all(token.replace("-", "").replace("_", "").isalnum() for token in made)


def test_what_was_added_is_there(path: Path) -> None:
    """With all it was given but the token, in the order in which it came."""
    first = make_row("mailer", "worker", ("emails*", "news"), "secret", 1_700_000_000_000)
    change(path, lambda rows: (*rows, first))
    change(path, lambda rows: (*rows, row("b")))
    assert load(path) == (first, row("b"))
    assert first.sha256 == digest("secret").hex()
    assert "secret" not in path.read_text()


def test_only_the_owner_may_read_it(path: Path) -> None:
    """Whatever the umask says, of the file and of the folder made for it; and nothing else is left there."""
    old = os.umask(0)
    try:
        change(path, lambda _: (row("a"),))
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_change_that_fails_changes_nothing(path: Path) -> None:
    """Neither an error of the one who changes nor rows that may not be leave a trace."""
    change(path, lambda _: (row("a"),))
    before = path.read_bytes()

    def refuse(_: tuple[TokenRow, ...]) -> tuple[TokenRow, ...]:
        raise KeyError("no")

    with pytest.raises(KeyError):
        change(path, refuse)
    with pytest.raises(TokenFileError, match="the name a stands there twice"):
        change(path, lambda rows: (*rows, *rows))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_changes_at_once_are_all_made(path: Path) -> None:
    """Two who change the file wait for each other."""
    errors: list[Exception] = []

    def add(names: range) -> None:
        try:
            for n in names:
                change(path, lambda rows, n=n: (*rows, row(f"t{n}")))  # type: ignore[misc]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=add, args=(range(start, start + 20),)) for start in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {one.name for one in load(path)} == {f"t{n}" for n in range(60)}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "two words"}, r"tokens\[0\]\.name"),
        ({"name": ""}, r"tokens\[0\]\.name"),
        ({"name": "line\n"}, r"tokens\[0\]\.name"),
        ({"name": "x" * 65}, r"tokens\[0\]\.name"),
        ({"role": "root"}, r"'root'"),
        ({"queues": []}, r"queues"),
        ({"queues": ["a b"]}, r"queues"),
        ({"queues": ["q\n"]}, r"queues"),
        ({"queues": ["x"] * (MAX_PATTERNS + 1)}, r"queues"),
        ({"sha256": "0" * 63}, r"sha256"),
        ({"sha256": "G" * 64}, r"sha256"),
        ({"created_at": -1}, r"created_at"),
        ({"token": "secret"}, r"token"),
    ],
)
def test_a_row_that_may_not_be_refuses_the_file(path: Path, wrong: dict[str, Any], told: str) -> None:
    """The sentence names the file and the place."""
    write(path, ROW)
    assert len(load(path)) == 1
    write(path, {**ROW, **wrong})
    with pytest.raises(TokenFileError, match=f"tokens.json: .*{told}"):
        load(path)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"tokens":[]', b'{"tokens":{}}', b'{"tokens":[],"more":1}', b"\xff"]
)
def test_what_is_no_token_file_is_refused(path: Path, text: bytes) -> None:
    """Half a file above all: whoever was missing in it would be locked out, and nobody would know."""
    write(path).write_bytes(text)
    with pytest.raises(TokenFileError):
        load(path)


def test_tokens_and_their_number_are_checked(path: Path) -> None:
    """One token for two names could not be told apart; and there are a thousand at the most."""
    with pytest.raises(TokenFileError, match=r"the token 0{64} stands there twice"):
        load(write(path, ROW, {**ROW, "name": "b"}))
    many = [{**ROW, "name": f"t{n}", "sha256": f"{n:064x}"} for n in range(MAX_TOKENS + 1)]
    assert len(load(write(path, *many[:-1]))) == MAX_TOKENS
    with pytest.raises(TokenFileError, match="length"):
        load(write(path, *many))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    """Whoever may write it may let anybody in."""
    with pytest.raises(TokenFileError, match="others may write it; chmod 600"):
        load(write(path, ROW, mode=mode))
    assert len(load(write(path, ROW, mode=0o644))) == 1


def test_a_file_that_is_not_there(path: Path) -> None:
    """Is told in one sentence that names it."""
    with pytest.raises(TokenFileError, match=r"tokens\.json: No such file or directory$"):
        load(path)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_may_stand_in_the_file(path: Path, role: str) -> None:
    """The file knows the same roles as the table of commands."""
    assert load(write(path, {**ROW, "role": role}))[0].role == role


@pytest.mark.parametrize(
    ("name", "queues", "told"),
    [
        ("two words", None, "name is 1 to 64"),
        ("x\n", None, "name is 1 to 64"),
        ("x", ("a/b",), "pattern 'a/b'"),
        ("x", ("a",) * (MAX_PATTERNS + 1), "101, max 100"),
    ],
)
def test_a_row_that_may_not_be_is_not_made(name: str, queues: tuple[str, ...] | None, told: str) -> None:
    """Whoever types it is told in words."""
    with pytest.raises(ValueError, match=told):
        make_row(name, "viewer", queues, "t", 1)
