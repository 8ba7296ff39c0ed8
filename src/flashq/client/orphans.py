"""Pulls whose caller has gone: who takes over their job when it comes.

``asyncio.wait_for(client.pull("q"), 1)`` is how many programs wait; when the second is over, the pull is still
parked at the server, which cannot know. Dropping its answer would lose a job until its lease ends, and asking
again each second would pile up parked pulls until the server refuses more. So the answer stays awaited here: the
next caller who asks for the same takes it over. A job that comes while nobody asks is kept for a moment and then
given back by RELEASE, uncounted, so that it runs at once instead of after its lease.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from flashq.client import calls
from flashq.client.results import JobRecord
from flashq.errors import FlashQError
from flashq.protocol.requests import Pull, PullAny, PullBatch, Request

HOLD_S: Final = 1.0
"""How long a job waits for the next caller: longer than a loop that pulls again at once, far shorter than a lease."""


class PullKey(NamedTuple):
    """What was asked for: only a caller who asks for the same can take the answer."""

    kind: type
    queues: tuple[str, ...]
    most: int


def pull_key(request: Request) -> PullKey | None:
    """What a request asks for; None if it is no pull, and its answer may be dropped."""
    if isinstance(request, PullAny):
        return PullKey(type(request), tuple(request.queues), request.count)
    if isinstance(request, Pull | PullBatch):
        return PullKey(type(request), (request.queue,), getattr(request, "count", 1))
    return None


class _Orphan(NamedTuple):
    answer: "asyncio.Future[bytes]"
    forever: bool
    came: "Callable[[asyncio.Future[bytes]], None]"


class Orphans:
    """The answers that nobody waits for.

    Args:
        give_back: called with id and token of a job that nobody took.
    """

    def __init__(self, give_back: Callable[[int, str | None], Any]) -> None:
        self._give_back = give_back
        self._left: dict[PullKey, list[_Orphan]] = {}

    def __len__(self) -> int:
        """How many there are, answered or not."""
        return sum(map(len, self._left.values()))

    def leave(self, key: PullKey, answer: "asyncio.Future[bytes]", *, forever: bool) -> None:
        """The caller has gone; look after his answer.

        Args:
            key: what he asked for.
            answer: the server's answer, come or to come.
            forever: whether the server waits without a limit.
        """
        came = partial(self._came, key)
        self._left.setdefault(key, []).append(_Orphan(answer, forever, came))
        answer.add_done_callback(came)

    def adopt(self, key: PullKey, *, forever: bool) -> "asyncio.Future[bytes] | None":
        """An answer for someone who asks for the same; None if there is none.

        One that has come is good for everybody. One still to come only for a caller who also waits for ever: any
        other would be answered later, or sooner with nothing, than he asked.
        """
        left = self._left.get(key, ())
        come = (orphan for orphan in left if orphan.answer.done() and _jobs_in(key, orphan.answer))
        waiting = (orphan for orphan in left if forever and orphan.forever and not orphan.answer.done())
        orphan = next(come, None) or next(waiting, None)
        if orphan is None:
            return None
        orphan.answer.remove_done_callback(orphan.came)
        self._remove(key, orphan.answer)
        return orphan.answer

    def close(self) -> None:
        """Give back what is here; what is still to come ends with the connection."""
        for key in list(self._left):
            for orphan in list(self._left[key]):
                if orphan.answer.done():
                    self._return(key, orphan.answer)

    def _came(self, key: PullKey, answer: "asyncio.Future[bytes]") -> None:
        """The answer is here. Without a job nothing is left to do; with one, somebody may still ask."""
        if not self._holds(key, answer):
            return
        if _jobs_in(key, answer):
            answer.get_loop().call_later(HOLD_S, self._return, key, answer)
        else:
            self._remove(key, answer)

    def _return(self, key: PullKey, answer: "asyncio.Future[bytes]") -> None:
        if self._holds(key, answer):
            self._remove(key, answer)
            for job in _jobs_in(key, answer):
                self._give_back(job.id, job.token)

    def _holds(self, key: PullKey, answer: "asyncio.Future[bytes]") -> bool:
        return any(orphan.answer is answer for orphan in self._left.get(key, ()))

    def _remove(self, key: PullKey, answer: "asyncio.Future[bytes]") -> None:
        kept = [orphan for orphan in self._left[key] if orphan.answer is not answer]
        if kept:
            self._left[key] = kept
        else:
            del self._left[key]


def _jobs_in(key: PullKey, answer: "asyncio.Future[bytes]") -> list[JobRecord]:
    """The jobs of an answer that has come; an error holds none."""
    if answer.cancelled() or answer.exception() is not None:
        return []
    try:
        if issubclass(key.kind, PullBatch | PullAny):
            return calls.read_pulled_batch(answer.result())
        job = calls.read_pulled(answer.result())
    except FlashQError:
        return []
    return [] if job is None else [job]
