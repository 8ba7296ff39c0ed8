"""The entry point: ``flashq <verb>``.

The client alone is installed without click; then the command is there, and says in one line what it lacks.
"""

import sys
from collections.abc import Callable

from flashq.cli import exits


def _without_click() -> None:
    sys.stderr.write("flashq: click is not installed: the command line needs flashq-server's extra [server]\n")
    sys.exit(exits.FAILED)


_start: Callable[[], object]
try:
    from flashq.cli.program import program
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    _start = _without_click
else:
    _start = program


def main() -> None:
    """Run the command line and exit with one of the codes of `flashq.cli.exits`."""
    _start()
