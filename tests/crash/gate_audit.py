"""Reads what strace saw of a server: did every answer leave after the sync of what it depends on?

Requests and what they leave on the disk bear marks. A mark in what is sent to a client must be in the log of the
database already, and a sync of the log that began after it was written must have ended. strace tells beginnings and
ends in the order in which they came; a call that others interrupt stands there twice.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

CALLS: Final = ("pwrite64", "fdatasync", "fsync", "write", "writev", "sendto", "sendmsg")
MARK: Final = re.compile(r"k\d{8}")

_LINE: Final = re.compile(r"(\d+) +\d+\.\d+ (?:(\w+)\(\d+<([^>]*)>|<\.\.\. (\w+) resumed>)(.*)", re.DOTALL)
_UNFINISHED: Final = "<unfinished ...>"


def mark(number: int) -> str:
    """The mark of a request."""
    return f"k{number:08}"


@dataclass
class Audit:
    """What was found.

    Attributes:
        answered: marks that were sent to clients.
        early: those of them that were not safe at that moment.
    """

    answered: set[str] = field(default_factory=set)
    early: set[str] = field(default_factory=set)


def audit(trace: Iterable[str]) -> Audit:
    """Read the lines of a trace."""
    found = Audit()
    written: set[str] = set()
    safe: set[str] = set()
    syncing: dict[str, set[str]] = defaultdict(set)
    for line in trace:
        parts = _LINE.match(line)
        if parts is None:
            continue
        thread, call, file, resumed, rest = parts.groups()
        if (call or resumed) in ("fdatasync", "fsync"):
            if call and file.endswith("-wal"):
                syncing[thread], written = written, set()
            if _UNFINISHED not in rest:
                assert " = 0" in rest, line
                safe |= syncing.pop(thread, set())
        elif call == "pwrite64" and file.endswith("-wal"):
            written.update(MARK.findall(rest))
        elif call and file.startswith(("socket:", "TCP:", "TCPv6:", "UNIX")):
            sent = set(MARK.findall(rest))
            found.answered |= sent
            found.early |= sent - safe
    return found
