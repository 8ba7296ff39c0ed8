"""Tasks: still functions, and jobs when asked."""

import inspect
import sys
from functools import partial
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import pytest

from flashq import App, BadRequest, Context, current_job
from flashq.tasks.context import enter, leave
from unit.tasks.recorder import recorded


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ({"__file__": "shop/mails.py", "__spec__": None}, "mails.send"),
        ({"__file__": "shop/mails.py", "__spec__": ModuleSpec("shop.mails", None)}, "shop.mails.send"),
        ({"__spec__": ModuleSpec("shop.__main__", None)}, "shop.send"),
        ({}, "__main__.send"),
    ],
)
def test_a_program_names_its_tasks_as_workers_do(
    program: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run as ``python mails.py`` a module calls itself ``__main__``; a worker that imports it would not know that."""
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(**program))
    app, _ = recorded()

    def send() -> None: ...

    send.__module__, send.__qualname__ = "__main__", "send"
    assert app.task(send).name == name


def test_a_task_is_still_the_function() -> None:
    """Called, documented and looked at like it."""
    app, client = recorded()

    @app.task
    def add(a: int, b: int = 1) -> int:
        """Add."""
        return a + b

    assert add(1) == 2
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add.", __name__)
    assert list(inspect.signature(add).parameters) == ["a", "b"]
    assert client.pushed == []


async def test_a_coroutine_task_is_awaited() -> None:
    """Called directly it is the coroutine."""
    app, _ = recorded()

    @app.task
    async def double(a: int) -> int:
        return 2 * a

    assert double.is_async
    assert await double(3) == 6


def test_delay_enqueues_the_call() -> None:
    """By its name, with its arguments and the options of the decorator."""
    app, client = recorded(default_queue="main")

    @app.task(name="mails.send", max_attempts=5, timeout=2_000, tags=["mail"])
    def send(to: str, *, urgent: bool = False) -> None: ...

    @app.task(queue="other")
    def bare() -> None: ...

    job = send.delay("ada", urgent=True)
    bare.delay()
    assert (job.id, job.task, job.fresh) == (1, "mails.send", True)
    assert client.pushed == [
        (
            "main",
            {"task": "mails.send", "args": ["ada"], "kwargs": {"urgent": True}},
            {"priority": 0, "max_attempts": 5, "timeout": 2_000, "tags": ["mail"]},
        ),
        ("other", {"task": bare.name}, {"priority": 0}),
    ]


async def test_adelay_is_delay_for_coroutines() -> None:
    """The same job by the async client."""
    app, client = recorded()

    @app.task
    def send(to: str) -> None: ...

    assert (await send.adelay("ada")).id == 1
    assert client.pushed[0][1]["args"] == ["ada"]


def test_options_hold_for_one_call() -> None:
    """And can be put on top of each other; the task keeps its own."""
    app, client = recorded()

    @app.task(priority=1)
    def send(to: str) -> None: ...

    urgent = send.options(priority=9)
    urgent.options(delay=500, queue="later").delay("ada")
    send.delay("bob")
    assert client.pushed[0][0] == "later"
    assert client.pushed[0][2] == {"priority": 9, "delay": 500}
    assert client.pushed[1][2] == {"priority": 1}


def test_a_call_that_does_not_fit_is_refused_where_it_is_made() -> None:
    """Nothing is enqueued."""
    app, client = recorded()

    @app.task
    def send(to: str) -> None: ...

    for args, kwargs in (((), {}), (("a", "b"), {}), (("a",), {"cc": "b"})):
        with pytest.raises(TypeError, match=r"task '.*send'"):
            send.delay(*args, **kwargs)
    with pytest.raises(TypeError, match="no JSON form"):
        send.delay(object())
    assert client.pushed == []


def test_many_jobs_go_in_one_request() -> None:
    """In the order of the items, with one argument or several."""
    app, client = recorded()

    @app.task
    def add(a: int, b: int = 0) -> int:
        return a + b

    assert [job.id for job in add.map(range(3))] == [1, 2, 3]
    assert [job.id for job in add.starmap([(1, 2), (3, 4)])] == [4, 5]
    assert client.batches == [3, 2]
    assert [envelope["args"] for _, envelope, _ in client.pushed] == [[0], [1], [2], [1, 2], [3, 4]]
    assert add.map([]) == []


async def test_many_jobs_by_the_async_client() -> None:
    """The same."""
    app, client = recorded()

    @app.task
    def add(a: int, b: int = 0) -> int:
        return a + b

    assert [job.id for job in await add.amap([1])] == [1]
    assert [job.id for job in await add.astarmap([(1, 2)])] == [2]
    assert client.batches == [1, 1]


def test_a_unique_task_gives_the_job_that_is_there() -> None:
    """A second call is no error: it is the same order, and its result can be waited for."""
    app, client = recorded()

    @app.task(unique="user-{user}")
    def pay(user: int) -> None: ...

    assert pay.delay(1).fresh
    assert client.pushed[0][2]["unique_key"] == "user-1"
    client.held["user-2"] = 77
    job = pay.delay(2)
    assert (job.id, job.fresh) == (77, False)
    pay.options(unique_key="mine").delay(2)
    assert client.pushed[1][2]["unique_key"] == "mine"


async def test_a_known_job_id_gives_the_job_that_it_made() -> None:
    """Whoever repeats a call that was cut off learns whether the first one had arrived."""
    app, _ = recorded()
    pay = app.task(name="pay")(lambda: None)
    call = pay.options(job_id="invoice-7")
    assert [call.delay().fresh, call.delay().fresh, (await call.adelay()).fresh] == [True, False, False]
    assert pay.delay().fresh


def test_a_key_format_is_checked_at_once() -> None:
    """A misspelt parameter shows where the task is declared."""
    app, _ = recorded()
    with pytest.raises(BadRequest, match="names no parameter 'usr'"):

        @app.task(unique="user-{usr}")
        def pay(user: int) -> None: ...

    @app.task(unique="{user.id}-{items[0]:>3}")
    def fine(user: dict[str, int], items: list[int]) -> None: ...

    @app.task(unique="{whatever}")
    def open_(**more: int) -> None: ...


def test_a_task_called_here_gets_a_context() -> None:
    """That of the job that runs here, if one does; otherwise one that reaches nobody."""
    app, _ = recorded()

    @app.task
    def outer(context: Context, n: int, *, same: Context) -> tuple[int, int]:
        assert same is context
        context.progress(n)
        return context.id, n

    assert outer(5) == (0, 5)
    token = enter(Context(task="x", id=9))
    assert outer(6) == (9, 6)
    assert current_job().id == 9
    leave(token)


def test_which_failures_are_tried_again() -> None:
    """``never_retry`` wins; ``retry_on`` excludes all others."""
    app, _ = recorded()
    retries = app.task(name="a", retry_on=[OSError], never_retry=[FileNotFoundError])(lambda: None).retries
    assert [retries(error) for error in (OSError(), FileNotFoundError(), ValueError())] == [True, False, False]
    assert app.task(name="b")(lambda: None).retries(ValueError())


def test_the_context_comes_wherever_it_is_asked_for() -> None:
    """In front, in the middle, behind, before the rest, optional: other arguments stay where they are."""
    app, _ = recorded()
    context = Context(task="t")

    def first(job: Context, a: int, b: int = 2) -> Any:
        return job, a, b

    def middle(a: int, job: Context, b: int = 2) -> Any:
        return job, a, b

    def last(a: int, b: int = 2, job: Context | None = None) -> Any:
        return job, a, b

    def rest(a: int, job: Context, *b: int) -> Any:
        return (job, a, *b)

    def keyword(a: int, b: int = 2, *, job: Context) -> Any:
        return job, a, b

    for function in (first, middle, last, rest, keyword):
        task: Any = app.task(function)
        assert task.call(context, [1, 3], {}) == (context, 1, 3)
        if function is not rest:
            assert task.call(context, [1], {}) == (context, 1, 2)
            assert task.call(context, [1], {"b": 4}) == (context, 1, 4)
            assert task.call(context, [], {"a": 1, "b": 4}) == (context, 1, 4)


def test_only_functions_become_tasks() -> None:
    """What no job could run, or no worker could find by its name, is refused where it is declared."""
    app, _ = recorded()

    def plain() -> None: ...
    def one_by_one() -> Any:
        yield 1

    async def one_by_one_later() -> Any:
        yield 1

    task = app.task(plain)
    things: list[Any] = [task, partial(plain), App, classmethod(plain), 7, one_by_one, one_by_one_later]
    for thing in things:
        with pytest.raises(BadRequest, match=r"made of a function|is a generator"):
            app.task(thing)
    assert list(app.tasks.values()) == [task]


def test_a_static_method_is_a_function() -> None:
    """Declared inside a class, whichever decorator comes first; a coroutine function stays one."""
    app, _ = recorded()

    class Mails:
        """A class used as a drawer."""

        @app.task
        @staticmethod
        async def send(to: str) -> None: ...

    assert Mails.send.is_async


def test_parameters_may_be_named_like_ours() -> None:
    """``self`` is a keyword argument like any other."""
    app, _ = recorded()

    @app.task
    def odd(self: int, task: int, args: int) -> tuple[int, int, int]:
        return self, task, args

    odd.delay(self=1, task=2, args=3)
    assert [odd.s(self=1).kwargs, odd.si(self=1, task=2, args=3).kwargs["self"]] == [{"self": 1}, 1]
    assert odd(self=1, task=2, args=3) == (1, 2, 3)
