"""The plain client with the async client's face, so that one test can be played over both.

Each blocking call runs in a thread of its own, as it would in a program with threads; so a call that waits does not
keep the test from doing what it waits for.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, TypeVar

from flashq.client import Batch, FlashQ, Subscription

T = TypeVar("T")


async def _each(things: Iterator[T]) -> AsyncIterator[T]:
    """What a blocking iterator gives, each thing fetched in a thread."""
    end = object()
    while (thing := await asyncio.to_thread(next, things, end)) is not end:
        yield thing  # type: ignore[misc]  # it is not the end


class Awaited:
    """Wraps a `FlashQ`, one of its subscriptions or pipelines: blocking methods become awaitable."""

    def __init__(self, plain: FlashQ | Subscription | Batch) -> None:
        self.plain = plain

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.plain, name)
        if name in {"with_options", "subscribe", "pipeline"}:
            return lambda *args, **kwargs: Awaited(attribute(*args, **kwargs))
        if name == "all_jobs":
            return lambda *args, **kwargs: _each(attribute(*args, **kwargs))
        if isinstance(self.plain, Batch) or not callable(attribute):
            return attribute

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(attribute, *args, **kwargs)

        return awaited

    async def __aenter__(self) -> "Awaited":
        await asyncio.to_thread(self.plain.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.plain.__exit__, kind, error, trace)

    def __aiter__(self) -> "Awaited":
        assert isinstance(self.plain, Subscription)
        assert iter(self.plain) is self.plain
        return self

    async def __anext__(self) -> Any:
        assert isinstance(self.plain, Subscription)
        # StopIteration cannot pass through a future, so the end is a value on the way.
        event = await asyncio.to_thread(next, self.plain, None)
        if event is None:
            raise StopAsyncIteration
        return event
