"""What the command line's exit codes mean: the part of its answer that scripts read.

Kept apart from the words, which are for people and may change; these numbers may not.
"""

from typing import Final

from flashq.errors import BY_CODE, FlashQError, NotFound

OK: Final = 0
FAILED: Final = 1
"""No usable answer: a setting is wrong, nobody listens there, the connection was lost, a file could not be read."""
USAGE: Final = 2
"""The command itself is wrong: unknown option, missing argument, data that is not JSON. Nothing was sent."""
REFUSED: Final = 3
"""The server answered with an error; its code stands in brackets, or in the member ``code``."""
NOTHING: Final = 4
"""There is nothing there: the pull found no job in time, the job that was waited for has not completed, or there is no
such job or schedule."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells count it."""

LEGEND: Final[dict[int, str]] = {
    OK: "done",
    FAILED: "no usable answer: wrong setting, no server, lost connection, unreadable file",
    USAGE: "the command is wrong, or its data is not JSON; nothing was sent",
    REFUSED: "refused by the server; the code says why",
    NOTHING: "nothing there: no job or no end in time, a job that failed, no such job or schedule",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""The lines of ``flashq --help``."""


def exit_code(error: FlashQError) -> int:
    """Which code a failed call ends with.

    Only a class that the server's codes name is a refusal: the base class stands for an answer that makes no sense,
    and `ConnectionLost` and `CallTimeout` for none at all.
    """
    if isinstance(error, NotFound):
        return NOTHING
    return REFUSED if type(error) in BY_CODE.values() else FAILED
