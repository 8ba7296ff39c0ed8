"""A job on its way to the server: a call of a task, before it is a payload."""

from typing import Any

from msgspec import Struct

from flashq.errors import TooLarge
from flashq.protocol.limits import MAX_JOB_BYTES
from flashq.tasks.options import Options
from flashq.tasks.payload import Envelope, Use, to_json


class Outgoing(Struct):
    """A job that is about to be enqueued; a middleware may change ``headers`` and replace ``options``.

    Attributes:
        task: the task's name.
        args: positional arguments.
        kwargs: keyword arguments.
        options: queue, priority, delay and so on.
        headers: carried in the job; `Context.headers` shows them to the other side.
    """

    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Options
    headers: dict[str, str]

    def payload(self, use: Use | None = None) -> bytes:
        """The job's payload, JSON.

        Args:
            use: how the results of the parents become the first argument.

        Raises:
            TypeError: an argument has no JSON form.
            TooLarge: a job may not carry so much.
        """
        try:
            written = to_json(Envelope(self.task, self.args, self.kwargs, self.headers, use))
        except (TypeError, ValueError, RecursionError) as error:  # without a word in JSON, half a character, endless
            raise TypeError(f"task {self.task!r}: {error}") from None
        if len(written) > MAX_JOB_BYTES:
            raise TooLarge(f"task {self.task!r}: Job data too large ({len(written)} bytes, max {MAX_JOB_BYTES} bytes)")
        return written
