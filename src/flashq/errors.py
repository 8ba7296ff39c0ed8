"""Every error of the product, in one tree, shared by server and client.

::

    FlashQError
    ├── BadRequest        bad_request     the request itself is wrong; repeating it will not help
    │   └── TooLarge      too_large       a payload, line or batch over its limit
    ├── Unauthorized      unauthorized    no token, or a wrong one
    ├── Forbidden         forbidden       the token's role may not do this
    ├── NotFound          not_found       no such job or cron
    ├── NotActive         not_active      the job is not in a worker's hands
    ├── StaleAttempt      stale_attempt   the token names an attempt that has ended
    ├── Duplicate         duplicate       a live job holds the unique key (``id`` names it)
    ├── Overloaded        overloaded      a bound of memory or of waiting calls; try again later
    ├── LimitReached      limit_reached   a bound on how many things there may be
    ├── ShuttingDown      shutting_down   the server is leaving; try again
    ├── StorageError      storage_error   the disk failed; the answer would not have been true
    │   └── StorageFull   storage_full    the disk is full
    ├── ConnectionLost    connection_lost client side: no answer came, the outcome is unknown
    ├── CallTimeout       call_timeout    client side: no answer within the time the caller set
    ├── JobFailed         job_failed      client side: the job whose result was asked for is among the dead letters
    └── JobLost           job_lost        client side: the job whose result was asked for will never complete

The code is what programs match on and never changes; the sentence is for people. An error that is not in
this tree is a bug: doors answer it as ``internal`` and never show its text.
"""

from typing import ClassVar, Final


class FlashQError(Exception):
    """Base of all errors a user of FlashQ may meet.

    Attributes:
        code: the stable word that programs match on.
        http_status: what the HTTP door answers.
        retry_after_ms: client side: how long whoever asks again has to wait at least, as the server, or a proxy before
            it, said; 0: nothing was said.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retry_after_ms: int = 0


class BadRequest(FlashQError):
    """The request is malformed or names something that can never be."""

    code = "bad_request"
    http_status = 400


class TooLarge(BadRequest):
    """A payload, a line or a batch is over its limit; the sentence names both sizes."""

    code = "too_large"
    http_status = 413


class Unauthorized(FlashQError):
    """No valid token was presented."""

    code = "unauthorized"
    http_status = 401


class Forbidden(FlashQError):
    """The token is valid, its role is too weak."""

    code = "forbidden"
    http_status = 403


class NotFound(FlashQError):
    """No such job, queue or cron."""

    code = "not_found"
    http_status = 404


class NotActive(FlashQError):
    """The job exists or existed, but no worker holds it now."""

    code = "not_active"
    http_status = 409


class StaleAttempt(FlashQError):
    """The token names an attempt that has ended; nothing was changed."""

    code = "stale_attempt"
    http_status = 409


class Duplicate(FlashQError):
    """A live job already holds the unique key.

    Attributes:
        id: the job that holds it; 0 when that is an earlier job of the same flow, which was not pushed either.
    """

    code = "duplicate"
    http_status = 409

    def __init__(self, message: str, id: int = 0) -> None:
        super().__init__(message)
        self.id = id


class Overloaded(FlashQError):
    """A bound on memory or on waiting calls was met; the same call may succeed later."""

    code = "overloaded"
    http_status = 429


class LimitReached(FlashQError):
    """A bound on the number of queues, crons or subscribers was met."""

    code = "limit_reached"
    http_status = 429


class ShuttingDown(FlashQError):
    """The server is draining and takes no new work."""

    code = "shutting_down"
    http_status = 503


class StorageError(FlashQError):
    """The disk or database failed; what was asked has not been confirmed."""

    code = "storage_error"
    http_status = 503


class StorageFull(StorageError):
    """There is no room left on the disk."""

    code = "storage_full"
    http_status = 507


class ConnectionLost(FlashQError):
    """Client side: the connection ended before the answer came. The outcome is unknown."""

    code = "connection_lost"


class CallTimeout(FlashQError):
    """Client side: no answer came within the caller's time. The outcome is unknown."""

    code = "call_timeout"


class JobFailed(FlashQError):
    """Client side: the job whose result was asked for is among the dead letters; the text is its last failure's.

    Attributes:
        id: the job.
    """

    code = "job_failed"

    def __init__(self, message: str, id: int = 0) -> None:
        super().__init__(message)
        self.id = id


class JobLost(FlashQError):
    """Client side: the job whose result was asked for was cancelled, expired, purged or forgotten."""

    code = "job_lost"


BY_CODE: Final[dict[str, type[FlashQError]]] = {
    error.code: error
    for error in (
        BadRequest,
        TooLarge,
        Unauthorized,
        Forbidden,
        NotFound,
        NotActive,
        StaleAttempt,
        Duplicate,
        Overloaded,
        LimitReached,
        ShuttingDown,
        StorageError,
        StorageFull,
    )
}
"""The errors a server may answer, by code: how a client turns an answer back into an exception."""
