"""A small program with tasks, as a user would write it, for the tests of what users test with."""

import asyncio

from flashq import App, Context, Reject, Retry, Snooze

app = App("flashq://nowhere.invalid", default_queue="mail")
sent: list[str] = []


@app.task(max_attempts=3, backoff=1_000)
def send(to: str, subject: str = "hello") -> int:
    """Send a mail."""
    sent.append(to)
    return len(to)


@app.task(queue="slow")
async def welcome(name: str) -> str:
    """Wait a little, then enqueue a mail from within."""
    await asyncio.sleep(0)
    await send.adelay(name)
    return f"welcome {name}"


@app.task(max_attempts=2, backoff=1_000)
def flaky(context: Context) -> str:
    """Fails the first time."""
    if context.attempt == 1:
        raise ValueError("planted")
    return "done"


@app.task
def picky(how: str, context: Context) -> None:
    """Says outright how it goes on."""
    if how == "retry" and context.attempt == 1:
        raise Retry("again", in_=5_000)
    if how == "snooze" and not sent:
        sent.append("snoozed")
        raise Snooze(60_000)
    if how == "reject":
        raise Reject("never")


@app.task
def reporting(context: Context) -> None:
    """Tells how far it is, and takes itself back."""
    context.progress(40, "almost half")
    app.client.cancel(context.id)
    context.heartbeat()
    sent.append("still there")
    context.check()
    sent.append("not reached")


@app.task
def endless() -> None:
    """Enqueues itself."""
    endless.delay()
