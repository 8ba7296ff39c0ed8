"""How a job that runs inside a test reaches its in-process server: at once, in the calling thread.

Written as `flashq.tasks.context.Link` asks. A worker would hear from the server that an attempt has ended; here the
refusal of the next message says so.
"""

from collections.abc import Callable

from flashq.client import FlashQ
from flashq.client.results import JobRecord
from flashq.errors import NotActive, NotFound, StaleAttempt
from flashq.tasks.context import Context

ENDED = (NotActive, NotFound, StaleAttempt)
"""What the server answers about an attempt that it has ended."""


class DirectLink:
    """Sends what a job's context has to say.

    Attributes:
        context: whose; set when there is one.
    """

    def __init__(self, client: FlashQ, record: JobRecord) -> None:
        self._client = client
        self._record = record
        self.context: Context | None = None

    def progress(self, percent: int, message: str | None) -> None:
        """Say how far the attempt is."""
        self._say(lambda: self._client.progress(self._record, percent, message))

    def heartbeat(self) -> None:
        """Renew the attempt's lease."""
        self._say(lambda: self._client.heartbeat(self._record))

    def _say(self, call: Callable[[], None]) -> None:
        try:
            call()
        except ENDED as error:
            if self.context is not None:
                self.context.cancel(str(error))
