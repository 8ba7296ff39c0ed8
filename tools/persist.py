"""Run a server that keeps everything in PostgreSQL: `make persist`.

With ``DATABASE_URL`` the database is the one that it names. Without it a PostgreSQL of the project's own runs as long
as the server does; its data stays in the folder ``flashq-postgres`` beside the Makefile.

Usage:
    python -m tools.persist [ARGUMENTS OF flashq serve]
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.postgres import Cluster, ClusterError

FOLDER: Final = Path(__file__).parent.parent / "flashq-postgres"
"""Not within DATA_DIR: that folder is closed to everybody but its owner, and PostgreSQL may run as somebody else."""

SERVE: Final = (sys.executable, "-m", "flashq", "serve")


def serve(url: str, arguments: Sequence[str]) -> int:
    """Run the server until it ends. A signal that asks us to end asks it. Returns its exit code."""
    with subprocess.Popen([*SERVE, *arguments], env={**os.environ, "DATABASE_URL": url}) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        signal.signal(signal.SIGINT, lambda *_: None)  # the terminal tells everybody: the server heard it as well
        return server.wait()


def main(arguments: Sequence[str], folder: Path = FOLDER) -> int:
    """Run both, and end the database after the server. Returns the exit code."""
    given = os.environ.get("DATABASE_URL")
    if given:
        return serve(given, arguments)
    try:
        with Cluster(folder) as cluster:
            print(f"PostgreSQL in {folder.name}, for psql: {cluster.url}", file=sys.stderr, flush=True)
            return serve(cluster.url, arguments)
    except ClusterError as error:
        print(f"persist: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
