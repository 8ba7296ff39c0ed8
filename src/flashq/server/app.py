"""The composition root: builds a server out of its parts, runs it, and takes it down in good order.

The only file that knows every package. Start: storage is opened and verified, the engine restored and checked, what
fell due meanwhile fires, and only then the doors open. Stop: the doors close, those who wait are answered, what
happened is committed, storage is closed.
"""

import asyncio
import contextlib
import gc
import logging
import secrets
from collections.abc import Callable
from importlib import import_module
from math import inf
from pathlib import Path
from ssl import SSLContext
from typing import Final

from flashq import __version__
from flashq.commands.admin import EXIT_RESTART
from flashq.commands.session import Context
from flashq.commands.table import ALLOWED
from flashq.config import Config
from flashq.engine.check import check
from flashq.engine.engine import Engine
from flashq.engine.records import STARTED
from flashq.engine.restore import restore
from flashq.engine.settings import Settings
from flashq.engine.trail import Ring
from flashq.errors import StorageError
from flashq.model import Instant
from flashq.protocol.replies import SettingsView
from flashq.security.access import Access
from flashq.security.tokenfile import load
from flashq.server import clock
from flashq.server.archive import Archive, Reader, RingReader
from flashq.server.backups import Backups
from flashq.server.doors import LineDoor, ServerDoor, connection_limit
from flashq.server.gauges import About, Gauges
from flashq.server.nonces import Nonces
from flashq.server.reload import Reloads
from flashq.server.runtime import EXIT_STORAGE, Runtime
from flashq.server.tls import Tls
from flashq.storage.backup import BackupFolder
from flashq.storage.base import Storage
from flashq.storage.journal import Journal
from flashq.storage.open import kind_of, name_of, storage_for
from flashq.storage.sqlite import SqliteStorage
from flashq.storage.windows import Retention
from flashq.storage.writer import Writer
from flashq.webhooks.delivery import Deliveries, Post

log = logging.getLogger("flashq")

DRAIN_SECONDS: Final = 10
FAILED_DRAIN_SECONDS: Final = 0.5
"""How long a stop may take until what is left is cut off; after a failure there is nothing left to wait for."""

LET_GO_SECONDS: Final = 5
"""How long what was submitted may take to be written once the doors are closed. A disk that hangs would keep a process
that is told to leave, until somebody kills it."""

DELIVERY_SECONDS: Final = 2
"""How long a stop waits for calls of webhooks that are under way. What is cut off stays owed, so a receiver that hangs
need not hold up a restart."""
DAY_MS: Final = 24 * 3600 * 1000

GC_THRESHOLDS: Final = (100_000, 20, 50)
"""Jobs are not tracked by the collector and hold no cycles, so it has little to find and much to look at."""

SWITCH_INTERVAL_S: Final = 0.0005
"""How soon a busy thread lets another have its turn. At Python's 5 ms a commit takes twice as long, since the writer
waits for the event loop; and while a page of metrics is made, each turn of the loop would wait as long for that."""


class Server:
    """One server: storage, engine, runtime and doors.

    Attributes:
        config: its settings.
        exit_code: how it ends.
        http_port: the real port of the HTTP door; 0 without one.
        tls: what every listener on an address shows; None without a certificate. A Unix socket stays plain.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tls: SSLContext | None = None
        self.exit_code = 0
        self.http_port = 0
        self._storage: Storage | None = None
        self._writer: Writer | None = None
        self._doors: list[ServerDoor] = []
        self._stopping = asyncio.Event()
        self._started_ms = clock.now().steady
        self._max_connections = connection_limit()
        self._deliveries: Deliveries | None = None
        self._lines: LineDoor
        self._runtime: Runtime
        self._context: Context
        self._gauges: Gauges
        self._reloads: Reloads

    async def start(self) -> None:
        """Open storage, restore, and only then the doors.

        Raises:
            StorageError: storage cannot be opened, or what it holds does not add up.
            OSError: an address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        gc.set_threshold(*GC_THRESHOLDS)
        now = clock.now()
        self._storage = storage_for(
            self.config.storage_url,
            durability=self.config.durability,
            steady_ms=lambda: clock.now().steady,
            retention=Retention(
                self.config.audit_keep_days * DAY_MS, self.config.audit_max_rows, lambda: clock.now().wall
            ),
            folder=Path(self.config.data_dir),
            address=f"{self.config.host}:{self.config.port}",
            lost=lambda error: _call(loop, self._storage_lost, error),
        )
        journal = None
        try:
            if self._storage is not None:
                journal = Journal(self._storage.open())
            engine = _make_engine(self.config, self._storage, now)
            self._runtime = Runtime(engine, loop, clock.now, self._fail, journal)
            self._context = Context(engine, self._runtime.hub, Access(self.config.auth_tokens, ALLOWED), self)
            self._gauges = Gauges(self._runtime, loop, _about(self.config), self._connected, clock.steady_us)
            self._context.private_webhooks = self.config.webhook_allow_private
            self._watch_files(loop)
            if self._storage is not None:
                runtime, storage = self._runtime, self._storage
                if storage.held_until_ms < inf:
                    runtime.hold_under(lambda: storage.held_until_ms)
                self._writer = Writer(
                    storage,
                    lambda number, took_us: _call(loop, self._committed, number, took_us),
                    lambda error: _call(loop, runtime.commit_failed, error),
                    clock.steady_us,
                )
            self._allow_backups(loop)
            if self.config.audit:
                self._keep_history(loop, now)
            self._deliveries = Deliveries(engine.webhooks, self._runtime, self._open_post, loop)
            self._runtime.owed = self._deliveries.owed
            self._runtime.refuse_commands = self._context.set_away
            self._deliveries.start()  # before the first tick: all that is owed by now is durable
            self._runtime.start(self._writer)
            self._gauges.start()
            await self._open_doors()
        except BaseException:
            await self._close_doors()
            self._let_go()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the TCP door; the real port when 0 was asked for."""
        return self._lines.address

    def settings(self, now: Instant) -> SettingsView:
        """See `flashq.commands.session.Host`."""
        config = self.config
        host, port = self.address
        version, storage, durability = _about(config)
        return SettingsView(
            version=version,
            host=host,
            port=port,
            http_port=self.http_port,
            unix_socket=config.unix_socket or None,
            storage=storage,
            durability=durability,
            auth=self._context.access.anonymous is None,
            tls=self.tls is not None,
            exposed=self.exposed,
            uptime_ms=now.steady - self._started_ms,
        )

    def leave(self, exit_code: int) -> None:
        """See `flashq.commands.session.Host`."""
        asyncio.get_running_loop().call_soon(self.stop, exit_code)

    def stop(self, exit_code: int = 0) -> None:
        """Ask the server to leave. Returns at once; `run` ends when it has left."""
        self.exit_code = self.exit_code or exit_code
        self._stopping.set()

    async def run(self) -> int:
        """Serve until `stop`; returns the exit code."""
        await self._stopping.wait()
        await self._close_doors()
        self._let_go()
        return self.exit_code

    def reload(self) -> None:
        """Read again what may change while the server runs."""
        self._reloads.now()

    @property
    def storage_name(self) -> str:
        """What its database is called, without what may be a password."""
        return name_of(self.config.storage_url)

    @property
    def exposed(self) -> bool:
        """Whether other machines reach the doors and nobody has to show a token."""
        return self._context.access.anonymous is not None and self.config.beyond_loopback

    def _watch_files(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raises: TokenFileError, TlsError: there are tokens or a certificate, and they cannot be used."""
        config = self.config
        self._reloads = Reloads(loop)
        if config.tokens_file or config.tokens_path.exists():
            self._load_tokens()
        self._reloads.add("tokens", (config.tokens_path,), self._load_tokens)

        if config.tls_cert:
            tls = Tls(Path(config.tls_cert), Path(config.tls_key))
            self.tls = tls.context
            self._reloads.add("certificate", tls.paths, tls.load)

    def _load_tokens(self) -> None:
        self._context.access.replace(load(self.config.tokens_path))
        for door in self._doors:
            door.let_go_revoked()

    def _keep_history(self, loop: asyncio.AbstractEventLoop, now: Instant) -> None:
        """Note what happens from now on, and answer questions about it."""
        runtime, outbox = self._runtime, self._runtime.engine.outbox
        reader: Reader | None = self._writer
        if reader is None:
            runtime.ring = Ring()
            reader = RingReader(runtime.ring, loop)
        self._context.archive = Archive(runtime, loop, reader)
        outbox.auditing = True
        outbox.operated(STARTED, now)

    def _allow_backups(self, loop: asyncio.AbstractEventLoop) -> None:
        """Only where the database is a file of this server's own; what else keeps jobs has tools for it."""
        storage, writer = self._storage, self._writer
        if writer is None or not isinstance(storage, SqliteStorage):
            return
        given = self.config.backup_dir
        place = Path(given) if given else storage.path.parent / "backups"
        folder = BackupFolder(storage.path, place, self.config.backup_keep, lambda: clock.now().wall)
        try:
            folder.clear()
        except OSError as error:
            log.warning("what is left of a backup that was broken off could not be removed: %s", error)
        self._context.backups = Backups(self._runtime, loop, writer, lambda: storage.back_up(folder))

    async def _open_doors(self) -> None:
        config = self.config
        self._lines = LineDoor(self._context, self._runtime, self._room)
        self._doors.append(self._lines)
        await self._lines.listen(config.host, config.port, self.tls)
        if config.unix_socket:
            await self._lines.listen_unix(config.unix_socket)
        if config.http:
            await self._open_http()

    async def _open_http(self) -> None:
        from flashq.server.httpdoor import HttpDoor

        kind = kind_of(self.config.storage_url)
        door = HttpDoor(self.config, kind, self._context, self._runtime, self._gauges, self._room)
        self._doors.append(door)
        await door.listen(self.tls)
        self.http_port = door.port

    async def _close_doors(self) -> None:
        if not hasattr(self, "_context"):
            return
        self._context.close()
        self._reloads.stop()
        self._runtime.stop()
        for door in self._doors:
            await door.close()
        self._gauges.stop()
        if self._deliveries is not None:
            self._deliveries.stop()
        for door in self._doors:
            door.drain()
        clock_of_loop = asyncio.get_running_loop().time
        failed = self.exit_code not in {0, EXIT_RESTART}
        deadline = clock_of_loop() + (FAILED_DRAIN_SECONDS if failed else DRAIN_SECONDS)
        await self._end_deliveries(deadline)
        while not self._drained() and clock_of_loop() < deadline:
            await asyncio.sleep(0.01)
        if self._storage is not None and not self._runtime.settled():
            log.error("leaving without a storage that does not answer: what was not confirmed may be lost")
            self.exit_code = self.exit_code or EXIT_STORAGE
            self._storage.give_up()
        for door in self._doors:
            door.abort()

    def _drained(self) -> bool:
        return all(door.settled() for door in self._doors) and self._runtime.settled()

    async def _end_deliveries(self, deadline: float) -> None:
        """Let calls of webhooks that are under way come to their end, if that is soon; the others stay owed."""
        if self._deliveries is None:
            return
        now = asyncio.get_running_loop().time
        until = min(deadline, now() + DELIVERY_SECONDS)
        while self._deliveries.busy and now() < until:
            await asyncio.sleep(0.01)
        await self._deliveries.close()
        self._deliveries = None

    async def _open_post(self) -> Post:
        """How webhooks are called; on a thread, because loading the HTTP client takes a while."""
        module = await asyncio.to_thread(import_module, "flashq.webhooks.post")
        post: Post = module.Poster(private=self.config.webhook_allow_private)
        return post

    def _let_go(self) -> None:
        try:
            if self._storage is not None:
                self._storage.give_up()  # what is submitted may be written, but not waited for: upkeep waits too
            ended = self._writer is None or self._writer.stop(LET_GO_SECONDS)
            if not ended:
                log.error("the storage does not let go; ending without it")
                self.exit_code = self.exit_code or EXIT_STORAGE
            elif self._storage is not None:
                self._storage.close()
        except StorageError as error:
            log.error("storage could not be closed cleanly: %s", error)  # noqa: TRY400  # one line, no traceback
            self.exit_code = self.exit_code or EXIT_STORAGE
        self._storage = self._writer = None

    def _room(self) -> bool:
        return self._connected() <= self._max_connections

    def _connected(self) -> int:
        return sum(door.connected for door in self._doors)

    def _committed(self, number: int, took_us: int) -> None:
        self._gauges.committed(took_us)
        self._runtime.committed(number)

    def _storage_lost(self, error: StorageError) -> None:
        """Another server has taken over; if this one is still starting, its first commit will say so."""
        if hasattr(self, "_runtime"):
            self._runtime.commit_failed(error)

    def _fail(self, error: BaseException, exit_code: int) -> None:
        log.critical("%s", error)
        self.stop(exit_code)


def _make_engine(config: Config, storage: Storage | None, now: Instant) -> Engine:
    settings = Settings(
        default_max_attempts=config.default_max_attempts,
        default_backoff=config.default_backoff,
        lease=config.lease,
        worker_silence=config.worker_silence,
        max_bytes=config.max_memory,
    )
    nonce = Nonces()
    if storage is None:
        return Engine(settings, nonce=nonce, now=now, epoch=secrets.randbits(40) + 1)
    snapshot = storage.load()
    if snapshot.importing:
        raise StorageError(
            f"An import into {kind_of(config.storage_url)} was broken off, so not all is there: "
            "run it again with the same file"
        )
    engine = restore(snapshot, settings, nonce=nonce, now=now)
    wrong = check(engine)
    if wrong:
        raise StorageError(
            f"What {name_of(config.storage_url)} holds does not add up: {wrong[0]} ({len(wrong)} in all)"
        )
    # Everything restored stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    return engine


def _about(config: Config) -> About:
    kind = kind_of(config.storage_url)
    return About(__version__, kind, "none" if kind == "memory" else config.durability)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    """Run something on the loop from the writer's thread. A loop that has closed has nobody left to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)
