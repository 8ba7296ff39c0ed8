"""Tasks of a small bank, some of them safe to run twice, for the tests of what finds the others."""

import asyncio
import sqlite3
from collections import Counter

from flashq import App, Context, Retry

app = App("flashq://nowhere.invalid")

entries: list[tuple[str, int]] = []
balances: Counter[str] = Counter()
locked: set[str] = set()
database = sqlite3.connect(":memory:", check_same_thread=False)
database.execute("CREATE TABLE payments (id TEXT PRIMARY KEY, amount INTEGER)")


def reset() -> None:
    """Forget everything."""
    entries.clear()
    balances.clear()
    locked.clear()
    with database:
        database.execute("DELETE FROM payments")


def effects() -> object:
    """Everything that was done."""
    rows = database.execute("SELECT id, amount FROM payments ORDER BY id").fetchall()
    return {"entries": entries, "balances": dict(balances), "locked": locked, "rows": rows}


@app.task
def mail(to: str) -> None:
    """What others enqueue."""


@app.task
def appends(to: str, amount: int) -> None:
    """Not safe: each run adds a line."""
    entries.append((to, amount))


@app.task
def inserts(id: str, amount: int) -> None:
    """Safe: the database knows the payment."""
    with database:
        database.execute("INSERT INTO payments VALUES (?, ?) ON CONFLICT DO NOTHING", (id, amount))


@app.task
def checks_and_marks_late(id: str, amount: int) -> None:
    """Not safe, and only a death in the middle shows it: the money moves before the payment is noted."""
    if any(entry[0] == id for entry in entries):
        return
    balances[id] += amount
    entries.append((id, amount))


@app.task
def marks_early(id: str, amount: int) -> None:
    """Not safe in the other way: what died after its mark is never done."""
    if (id, amount) in entries:
        return
    entries.append((id, amount))
    balances[id] += amount


@app.task
def sets(id: str, amount: int) -> None:
    """Safe: the same value again."""
    balances[id] = amount


@app.task
def enqueues(to: str) -> None:
    """Not safe: a second run enqueues a second mail."""
    mail.delay(to)


@app.task
def enqueues_once(to: str, context: Context) -> None:
    """Safe: the second mail is the first."""
    mail.options(job_id=f"mail-{context.id}").delay(to)


@app.task
async def waits_then_appends(to: str) -> None:
    """Not safe: checks, waits, and only then acts, so that two at a time both act."""
    seen = (to, 1) in entries
    await asyncio.sleep(0)
    if not seen:
        entries.append((to, 1))


@app.task
async def waits_and_sets(to: str) -> None:
    """Safe, and a coroutine."""
    await asyncio.sleep(0)
    balances[to] = 1
    await asyncio.sleep(0.001)
    balances[to] = 2


@app.task
async def locks(to: str) -> None:
    """Not safe: a death leaves the lock, since nothing of the coroutine runs any more, `finally` included."""
    if to in locked:
        raise RuntimeError("locked")
    locked.add(to)
    try:
        await asyncio.sleep(0)
    finally:
        locked.remove(to)


@app.task(max_attempts=5)
def retries(context: Context) -> None:
    """Safe, and asks for a second attempt."""
    if context.attempt == 1:
        raise Retry("not yet")
    balances["retries"] = 1


@app.task
def counts_runs() -> None:
    """Differs from run to run, whatever is reset."""
    runs.append(1)
    entries.append(("run", len(runs)))


@app.task
def fails() -> None:
    """Never works."""
    raise RuntimeError("planted")


@app.task
def long(count: int) -> None:
    """Many lines."""
    for n in range(count):
        balances[str(n)] = n


runs: list[int] = []
