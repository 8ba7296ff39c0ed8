"""The file of tokens: who may come in, which role each has, and for which queues.

It holds the SHA-256 of each token and never the token. A file that does not add up is refused as a whole, since half
of it might be the half that lets somebody in. It is replaced in one step, so that a reader finds the old or the new;
two writers wait for each other.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IWGRP, S_IWOTH
from typing import Annotated, Final, Literal

from msgspec import DecodeError, Meta, Struct, json

from flashq.security.tokens import digest

MAX_TOKENS: Final = 1_000
"""Tokens in the file: each is compared with every token that is shown, which takes well under a millisecond."""

MAX_PATTERNS: Final = 100
"""Patterns of one token: each is tried for each command."""

PREFIX: Final = "fq_"
"""With it a token is known for one wherever it turns up: in a log, in a repository, in a scanner of secrets."""

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"
_PATTERN: Final = r"^[\w.*?\[\]!-]{1,256}\Z"

Name = Annotated[str, Meta(pattern=_NAME)]
Pattern = Annotated[str, Meta(pattern=_PATTERN)]


class TokenRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One token.

    Attributes:
        name: what people call it; unique.
        role: what it may do.
        queues: patterns of the queues that it is good for; None = all.
        sha256: of the token, in hexadecimal digits.
        created_at: ms since the Unix epoch.
    """

    name: Name
    role: Literal["viewer", "producer", "worker", "operator", "admin"]
    queues: Annotated[tuple[Pattern, ...], Meta(min_length=1, max_length=MAX_PATTERNS)] | None
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    created_at: Annotated[int, Meta(ge=0)]


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    tokens: Annotated[tuple[TokenRow, ...], Meta(max_length=MAX_TOKENS)]


class TokenFileError(ValueError):
    """The file cannot be used; the sentence names it and says why."""


def make_token() -> str:
    """A new token of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def make_row(name: str, role: str, queues: tuple[str, ...] | None, token: str, now_ms: int) -> TokenRow:
    """What the file keeps of a new token.

    Args:
        name: what people call it.
        role: one of `flashq.security.identity.ROLES`.
        queues: patterns; None = all.
        token: of which only the digest is kept.
        now_ms: wall ms.

    Raises:
        ValueError: there can be no such name or pattern.
    """
    if not re.match(_NAME, name):
        raise ValueError(f"a token's name is 1 to 64 letters, digits, dots, hyphens and underscores, not {name[:80]!r}")
    wrong = next((pattern for pattern in queues or () if not re.match(_PATTERN, pattern)), None)
    if wrong is not None:
        raise ValueError(f"no queue can have a name of the pattern {wrong[:80]!r}")
    if len(queues or ()) > MAX_PATTERNS:
        raise ValueError(f"too many patterns ({len(queues or ())}, max {MAX_PATTERNS})")
    return TokenRow(name, role, queues, digest(token).hex(), now_ms)  # type: ignore[arg-type]


def load(path: Path) -> tuple[TokenRow, ...]:
    """What stands in the file.

    Raises:
        TokenFileError: it cannot be read, others may write it, or it does not add up.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read()
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror}") from None
    if mode & (S_IWGRP | S_IWOTH):
        raise TokenFileError(f"{path}: others may write it; chmod 600 {path}")
    return _parse(path, data)


def change(path: Path, edit: Callable[[tuple[TokenRow, ...]], tuple[TokenRow, ...]]) -> None:
    """Replace what stands in the file; one that is not there is made, with mode 0600.

    Raises:
        TokenFileError: it cannot be read or written, or what stands in it does not add up, before or after.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):
            before = load(path) if path.exists() else ()
            data = json.format(json.encode(_File(edit(before))), indent=1) + b"\n"
            _parse(path, data)
            _replace(path, data)
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror}") from None


def _parse(path: Path, data: bytes) -> tuple[TokenRow, ...]:
    try:
        rows = json.decode(data, type=_File).tokens
    except (DecodeError, UnicodeDecodeError) as error:
        raise TokenFileError(f"{path}: {error}") from None
    for what, values in (("name", [row.name for row in rows]), ("token", [row.sha256 for row in rows])):
        twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
        if twice is not None:
            raise TokenFileError(f"{path}: the {what} {twice[:64]} stands there twice")
    return rows


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: a file that is replaced cannot carry one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask says
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(new, path)  # noqa: PTH105  # the one step of it all
    except BaseException:
        new.unlink(missing_ok=True)
        raise
