"""A checksum at the end of every page of the database: SQLite's own extension cksumvfs, which comes with apsw.

SQLite looks at how its pages hang together and not at what is in a row. Without checksums an altered byte of a payload
is handed to a worker as if it had been sent so. With them every page is compared when it is read, and the check at the
start reads all of them. Pages in the log have the log's own checksums until they are moved.

The eight bytes a page are set aside when a database is made. One that was made without them stays as it is. One that
has them is not opened without the extension: what is written then would not fit the checksums any more.
"""

from functools import cache
from typing import Final

import apsw
import apsw.sqlite_extra

_EXTENSION: Final = "cksumvfs"
_VFS: Final = "cksmvfs"

RESERVED_BYTES: Final = 8
"""Of each page, as the extension wants them; the same number stands in the header of a database that has checksums."""

HEADER_PLACE: Final = 20
"""Where in the header it stands."""


@cache
def vfs() -> str | None:
    """The layer under SQLite that writes and compares checksums, for opening a database with.

    It is loaded once for the process and does nothing to databases without checksums.

    Returns:
        Its name, or None where apsw was built without the extension: SQLite's ordinary layer then.
    """
    if apsw.sqlite_extra.has(_EXTENSION) is None:
        return None
    connection = apsw.Connection(":memory:")
    try:
        apsw.sqlite_extra.load(connection, _EXTENSION)
    finally:
        connection.close()
    return _VFS


def in_header(head: bytes) -> bool:
    """Whether the pages of a database have checksums.

    Args:
        head: at least the first 21 bytes of the database.
    """
    return head[HEADER_PLACE] == RESERVED_BYTES
