"""The shape of a database and its steps: migrations/NNNN_name.BACKEND.sql, applied in the order of their numbers.

Plain SQL files, because they are read by people who look into the database as well. A step that was released is
never edited; a change is a new step. The number of the newest one applied stands in the database's header.
"""

from collections.abc import Sequence
from importlib import resources
from typing import Final, NamedTuple

import apsw

from flashq.errors import StorageError

APPLICATION_ID: Final = 0x464C5351
"""``FLSQ`` in the header of the file: tells our databases from those of other programs, and `file` what it is."""


class Step(NamedTuple):
    """One migration."""

    number: int
    name: str
    sql: str


def steps(backend: str) -> list[Step]:
    """All migrations that this program knows, in order.

    Args:
        backend: the word in the files' names, such as ``sqlite``.
    """
    files = (resources.files(__package__) / "migrations").iterdir()
    found = [file for file in files if file.name.endswith(f".{backend}.sql")]
    return sorted(Step(int(file.name[:4]), file.name, file.read_text(encoding="utf-8")) for file in found)


def migrate(connection: apsw.Connection, known: Sequence[Step]) -> int:
    """Bring a SQLite database up to the newest step; all missing steps in one transaction.

    Args:
        connection: owns the database.
        known: from `steps`.

    Returns:
        How many steps were applied.

    Raises:
        StorageError: the database is newer than this program; nothing was changed.
    """
    version = connection.pragma("user_version")
    newest = known[-1].number
    if version > newest:
        raise StorageError(
            f"{connection.filename}: its schema has number {version}, this program knows {newest}: use a newer FlashQ"
        )
    missing = [step for step in known if step.number > version]
    if missing:
        connection.execute("BEGIN IMMEDIATE")
        for step in missing:
            connection.execute(step.sql)
            connection.execute(f"PRAGMA user_version = {step.number:d}")
        connection.execute("COMMIT")
    return len(missing)
