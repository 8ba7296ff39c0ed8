"""Hooks: the coroutine half of each calls the plain half unless it is overridden."""

from collections.abc import Iterator
from contextlib import contextmanager

from flashq import Context, Middleware
from flashq.tasks.options import Options
from flashq.tasks.outcome import Done, Outcome
from flashq.tasks.outgoing import Outgoing


class Plain(Middleware):
    """Writes each hook once."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def before_enqueue(self, job: Outgoing) -> None:
        self.seen.append("before")

    @contextmanager
    def around_run(self, context: Context) -> Iterator[None]:
        self.seen.append("in")
        try:
            yield
        finally:
            self.seen.append("out")

    def after_run(self, context: Context, outcome: Outcome) -> None:
        self.seen.append("after")


async def test_plain_hooks_serve_coroutines_too() -> None:
    """A middleware that awaits nothing is written once."""
    hooks, context = Plain(), Context(task="t")
    await hooks.abefore_enqueue(Outgoing("t", (), {}, Options(queue="q"), {}))
    async with hooks.aaround_run(context):
        hooks.seen.append("run")
    await hooks.aafter_run(context, Done())
    assert hooks.seen == ["before", "in", "run", "out", "after"]


async def test_hooks_that_are_not_overridden_do_nothing() -> None:
    """A middleware has the hooks that it needs."""
    hooks, context = Middleware(), Context(task="t")
    hooks.before_enqueue(Outgoing("t", (), {}, Options(queue="q"), {}))
    with hooks.around_run(context):
        pass
    async with hooks.aaround_run(context):
        pass
    hooks.after_run(context, Done())
