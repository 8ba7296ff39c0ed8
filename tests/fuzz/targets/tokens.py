"""The file of tokens: rows that let in whom they name, or TokenFileError; no pattern of a queue takes long."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import json
from tests.fuzz.endings import refused
from tests.fuzz.seeds import literals

from flashq.commands.table import ALLOWED
from flashq.security.access import Access
from flashq.security.identity import ROLES
from flashq.security.tokenfile import TokenFileError, load, make_row

WORDS: Final = (
    *('{"tokens":[', '"name":', '"role":', '"queues":', '"sha256":', '"created_at":', "null", "*", "?", "[!", "a-z]"),
    *(f'"{role}"' for role in ROLES),
    "0" * 64,
)
MAX_BYTES: Final = 16 * 1024
_QUEUES: Final = ("", "a" * 256, "a-" * 128, "emails")
_FOLDER: Final = tempfile.TemporaryDirectory()
_FILE: Final = Path(_FOLDER.name, "tokens.json")


def seeds() -> Iterator[bytes]:
    """A file with every role, and what the tests contain."""
    patterns = ("emails*", "a?b", "[!x]*", "*a*a*a*b")
    rows = [make_row(role, role, patterns[: place + 1], role, 1) for place, role in enumerate(ROLES)]
    for some in (rows, rows[:1], rows[:1] * 2, []):
        yield json.encode({"tokens": some})
    yield from literals("tests/unit/security/test_tokenfile.py")


def read(data: bytes) -> str:
    """The file's content."""
    _FILE.write_bytes(data)
    _FILE.chmod(0o600)
    try:
        rows = load(_FILE)
    except TokenFileError as error:
        return refused(error)
    access = Access(rights=ALLOWED)
    access.replace(rows)
    assert access.anonymous is None, "everybody may come in"
    for row in rows:
        scope = access._identity(row).scope
        assert (scope is None) == (row.queues is None), "a token without bounds"
        if scope is not None:
            for queue in _QUEUES:
                queue in scope  # noqa: B015 - how long it takes is what is asked
    return f"{min(len(rows), 3)} rows"
