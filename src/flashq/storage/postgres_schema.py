"""Whether a PostgreSQL database can be trusted with jobs, and the schema in it.

Everything lives in a schema of its own, ``flashq``, so that a database may be shared with other programs and be
emptied with one statement. Its steps are migrations/NNNN_name.postgres.sql; the number of the newest one applied stands
in the table ``schema_version``.
"""

from pathlib import Path
from typing import Final, NamedTuple

from flashq.errors import StorageError
from flashq.storage.postgres_session import Away, Session
from flashq.storage.schema import steps

OLDEST: Final = 13
"""The first PostgreSQL that has gen_random_uuid, and the oldest that its authors still cared for in 2025."""

_LOCK: Final = 0x464C5351
"""``FLSQ``: two servers that start at once migrate one after the other."""


class Standing(NamedTuple):
    """Which database answers, and how far it is.

    Attributes:
        system: number of the cluster, from the time when it was made.
        identity: of our schema, from the time when it was made.
        epoch: number of the newest start.
        newest: number of the newest group.
    """

    system: int
    identity: str
    epoch: int
    newest: int


def require_safe(session: Session, *, relaxed: bool) -> None:
    """Look at the server's settings before anything is changed.

    Args:
        session: connected.
        relaxed: a crash of the database may lose what was just confirmed.

    Raises:
        StorageError: a confirmed job would not be safe here, or this cannot work. The sentence says what to do.
        Away: the database does not answer.
    """
    ((version, fsync, pages, commit, encoding, standby),) = session.fetch(
        "SELECT current_setting('server_version_num')::int, current_setting('fsync'), "
        "current_setting('full_page_writes'), current_setting('synchronous_commit'), "
        "current_setting('server_encoding'), pg_is_in_recovery()"
    )
    place = session.place
    if version < OLDEST * 10_000:
        raise StorageError(f"{place}: version {version // 10_000} is too old; {OLDEST} or newer is needed")
    if standby:
        raise StorageError(f"{place}: a standby, which is read-only; DATABASE_URL has to name the primary")
    if encoding != "UTF8":
        raise StorageError(f"{place}: its encoding is {encoding}; make the database with ENCODING 'UTF8'")
    off = [name for name, value in (("fsync", fsync), ("full_page_writes", pages)) if value != "on"]
    if commit == "off":
        off.append("synchronous_commit")
    if off and not relaxed:
        raise StorageError(
            f"{place}: {' and '.join(off)} is off, so a crash could lose confirmed jobs; turn it on, "
            "or set DURABILITY=relaxed"
        )


def version_of(session: Session) -> int:
    """The number of the newest step that was applied; 0 where there is no schema.

    Args:
        session: connected.

    Raises:
        StorageError: it is newer than this program.
        Away: the database does not answer.
    """
    version = schema_number(session)
    newest = steps("postgres")[-1].number
    if version > newest:
        raise StorageError(
            f"{session.place}: its schema has number {version}, this program knows {newest}: use a newer FlashQ"
        )
    return version


def migrate(session: Session) -> int:
    """Bring the schema up to the newest step; all missing steps in one transaction.

    Args:
        session: connected.

    Returns:
        How many steps were applied.

    Raises:
        StorageError: it is newer than this program, or may not be made. Nothing was changed.
        Away: the database does not answer.
    """
    known = steps("postgres")
    with session.transaction(f"SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({_LOCK})"):
        version = version_of(session)
        if not version:
            _make(session)
        missing = [step for step in known if step.number > version]
        for step in missing:
            session.execute(step.sql)
        if missing:
            session.fetch("UPDATE schema_version SET version = $1", known[-1].number)
    return len(missing)


def standing(session: Session) -> Standing:
    """Ask a database which it is and how far it has come.

    Args:
        session: connected.

    Raises:
        StorageError: it does not say.
        Away: it does not answer, or is a standby now.
    """
    rows = session.fetch(
        "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()), meta.identity::text, "
        "lease.epoch, coalesce((SELECT max(number) FROM journal), folded) FROM meta JOIN lease USING (shard) "
        "WHERE shard = 0"
    )
    if not rows:
        raise StorageError(f"{session.place}: the database is damaged: the table meta or lease is empty")
    standby, *found = rows[0]
    if standby:
        raise Away("it is a standby now, which is read-only")
    return Standing(*found)


def files_of(folder: Path, identity: str) -> Path:
    """The name that the files of a database have in a server's data folder, without a suffix.

    Args:
        folder: of the server.
        identity: of the database's schema.
    """
    return folder / f"postgres-{identity[:8]}"


def schema_number(session: Session) -> int:
    """The newest step applied, 0 where there is nothing of ours. Changes nothing.

    Raises:
        StorageError: it may not be looked at.
        Away: the database does not answer.
    """
    ((known,),) = session.fetch("SELECT to_regclass('flashq.schema_version') IS NOT NULL")
    if not known:
        return 0
    ((version,),) = session.fetch("SELECT version FROM flashq.schema_version")
    return int(version)


def _make(session: Session) -> None:
    """The schema, unless somebody made it for a role that may not, and the table that says how far it is."""
    ((there,),) = session.fetch("SELECT to_regnamespace('flashq') IS NOT NULL")
    if not there:
        session.execute("CREATE SCHEMA flashq")
    session.execute("CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES (0)")
