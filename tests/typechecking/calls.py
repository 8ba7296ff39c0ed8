"""Calls of tasks, right and wrong: type checkers must accept the first and refuse the marked lines."""

from typing import Any, assert_type

from flashq import App, Context, Job, current_job
from flashq.tasks import CoroutineTask, PlainTask

app = App()


@app.task
def add(a: int, b: int = 0) -> int:
    """Plain, bare decorator."""
    return a + b


@app.task(queue="emails", max_attempts=5)
def send(to: str, *, urgent: bool = False) -> str:
    """Plain, with options."""
    return f"{to} {urgent}"


@app.task
async def fetch(url: str) -> bytes:
    """Coroutine, bare decorator."""
    return url.encode()


@app.task(timeout=1_000)
async def crawl(context: Context, url: str, depth: int = 1) -> list[str]:
    """Coroutine with the context in front."""
    context.progress(depth)
    return [url]


@app.task
def report(context: Context, name: str) -> None:
    """Plain with the context in front."""
    context.log(name)


@app.cron("0 30 9 * * MON-FRI", timezone="Europe/Rome")
@app.task(unique=True)
def tidy(path: str = "", context: Context | None = None) -> None:
    """Scheduled."""
    current_job().log(path, again=context is None)


assert_type(add(1, 2), int)
assert_type(add.delay(1), Job[int])
assert_type(add.delay(a=1, b=2), Job[int])
assert_type(add.delay(1).result(), int)
assert_type(send.options(delay=1_000, priority=3).delay("ada", urgent=True), Job[str])
assert_type(fetch.delay("https://example.org").result(timeout=5), bytes)
assert_type(crawl.delay("https://example.org", depth=2), Job[list[str]])
assert_type(report.delay("monthly"), Job[None])
assert_type(add.map([1, 2, 3]), list[Job[int]])
tidy.delay()
add.si(1, 2)
add.s(2)

add.delay("one")  # wrong
add.delay()  # wrong
add.delay(1, 2, 3)  # wrong
add.delay(1, c=2)  # wrong
send.delay("ada", True)  # wrong
send.delay("ada", urgent="yes")  # wrong
send.options(prioritty=3).delay("ada")  # wrong
send.options(priority=3).delay(7)  # wrong
fetch.delay(b"https://example.org")  # wrong
crawl.delay("https://example.org", "deep")  # wrong
report.delay()  # wrong
add.si("one")  # wrong
app.task(timeout="1s")  # wrong
app.task(nosuch=1)  # wrong


async def use() -> None:
    """The same for coroutines."""
    assert_type(await fetch("https://example.org"), bytes)
    assert_type(await add.adelay(1), Job[int])
    assert_type(await add.delay(1), int)
    assert_type(await (await crawl.adelay("https://example.org")).aresult(), list[str])
    await add.adelay("one")  # wrong
    await fetch(3)  # wrong


def anything(x: Any, times: int = 1) -> list[int]:
    """A first parameter of any type must not be taken for the context."""
    return [x] * times


def unannotated(x, y=1):  # type: ignore[no-untyped-def]
    """Nor one without a type."""
    return x, y


def anything_at_all(*args: object) -> None:
    """Nor one of many."""


app.task(anything).delay({"a": 1}, times=2)
app.task(unannotated).delay({"a": 1}, 2)
app.task(name="again")(unannotated).delay({"a": 1}, 2)
app.task(anything_at_all).delay(1, "two")
kept: PlainTask[..., int] = add
also: CoroutineTask[..., bytes] = fetch
