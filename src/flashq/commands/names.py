"""Which queue names there may be, and what is said of the others."""

import re
from typing import Final

from flashq.engine.queue import Queue, Queues
from flashq.errors import BadRequest
from flashq.protocol.limits import MAX_QUEUE_NAME_BYTES

_NAME: Final = re.compile(r"[\w.-]+")
"""Unicode letters and digits, underscore, dot, hyphen."""


def check_queue_name(name: str, where: str = "") -> None:
    """Refuse a name that no queue may have; ``where`` names its place in a list.

    Raises:
        BadRequest: it is empty, too long or holds other characters.
    """
    if not name:
        raise BadRequest(f"{where}Queue name cannot be empty")
    if len(name.encode()) > MAX_QUEUE_NAME_BYTES:
        raise BadRequest(f"{where}Queue name too long (max 256 chars)")
    if not _NAME.fullmatch(name) or name in (".", ".."):
        allowed = "alphanumeric characters, underscores, hyphens, or dots"
        raise BadRequest(f"{where}Queue name must contain only {allowed}")


def queue_of(queues: Queues, name: str) -> Queue:
    """The queue of that name, made if it is new. A name that is known has been checked before.

    Raises:
        BadRequest, LimitReached: there may be no such queue.
    """
    queue = queues.by_name.get(name)
    if queue is None:
        check_queue_name(name)
        queue = queues.make(name)
    return queue
