"""The worker's heartbeat: a thread with a connection of its own.

The server takes a worker that is silent for too long for dead and gives its jobs away. So the sign of life must not
depend on the event loop, which a single careless task can block for a minute: it comes from a thread, over a blocking
client. A worker whose *process* hangs is silent, one whose loop hangs is not; timeouts end what hangs in there.

Each beat is parked at the server for some seconds, and answered sooner when the server has ended an attempt (it was
cancelled, its time was over). So a cancellation reaches the running code at once, and nothing is polled.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from flashq.client import FlashQ
from flashq.errors import FlashQError, NotFound
from flashq.model import EndedAttempt

log = logging.getLogger("flashq.worker")

BEAT_MS: Final = 5_000
"""How long a beat is parked: a sixth of the silence after which the server gives a worker up. A server with a shorter
silence parks it for a third of that."""

RETRY_MS: Final = 1_000
"""The wait after a beat that failed, and after one that found the worker unknown, until it has said hello again."""

PROMPT_MS: Final = 20
"""An answer that comes sooner and says nothing was not parked; then the next beat waits as after a failure, since a
server that parks none must not be flooded."""

MAX_MISSES: Final = 2
"""Beats in a row that find the worker unknown until that is believed. After a restart of the server this connection may
be back before the one that says hello by itself; then nothing was given away, and the second beat finds the worker."""

JOIN_S: Final = 1.0
"""How long a stop waits for the thread; its connection is closed by then."""


class Beat:
    """Beats until it is stopped.

    Args:
        client: of its own; closed by `stop`.
        worker: whose life it shows.
        ended: gets the attempts that the server has ended. Called in the beat's thread.
        unknown: called there when the server does not know the worker (any more).
    """

    def __init__(
        self, client: FlashQ, worker: str, ended: Callable[[list[EndedAttempt]], None], unknown: Callable[[], None]
    ) -> None:
        self._client = client
        self._worker = worker
        self._ended = ended
        self._unknown = unknown
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flashq beat", daemon=True)
        self._troubled = False
        self._misses = 0

    def start(self) -> None:
        """Begin; the worker must have said hello."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more; a beat that is parked is given up."""
        self._stopping.set()
        self._client.close()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause_ms = self._beat_once()
            if pause_ms:
                self._stopping.wait(pause_ms / 1_000)

    def _beat_once(self) -> int:
        """One beat; gives the wait before the next one in ms."""
        began = time.monotonic()
        try:
            ended = self._client.beat(self._worker, wait=BEAT_MS)
        except NotFound:
            self._misses += 1
            if self._misses >= MAX_MISSES:
                self._unknown()
            return RETRY_MS
        except FlashQError as error:
            if not self._stopping.is_set() and not self._troubled:
                self._troubled = True
                log.warning("the heartbeat does not reach the server, trying again until it does: %s", error)
            return RETRY_MS
        except Exception:
            log.exception("the heartbeat failed: a fault of the worker")
            return RETRY_MS
        self._misses = 0
        if self._troubled:
            self._troubled = False
            log.info("the heartbeat reaches the server again")
        if ended:
            self._ended(ended)
            return 0
        return RETRY_MS if (time.monotonic() - began) * 1_000 < PROMPT_MS else 0
