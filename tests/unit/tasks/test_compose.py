"""Compositions: what a chain, a group and a chord become on the wire."""

from functools import reduce
from operator import or_
from typing import Any

import pytest
from msgspec import Raw, json

from flashq import App, BadRequest, chain, chord, group
from flashq.client import Ending
from unit.tasks.recorder import Recorder, recorded


def tasks() -> tuple[App, Recorder, Any, Any]:
    """An app with a task of one argument and one of two."""
    app, client = recorded()

    def one(a: object) -> object:
        return a

    def two(a: object, b: object) -> object:
        return [a, b]

    return app, client, app.task(name="one")(one), app.task(name="two", queue="other")(two)


def told(client: Recorder) -> list[tuple[Any, ...]]:
    """The flow that was pushed: (task, args, use, after, collect) of each job."""
    flow = []
    for job in client.flows[-1]:
        envelope = json.decode(job.data)
        flow.append((envelope["task"], envelope.get("args", []), envelope.get("use"), job.after or [], job.collect))
    return flow


def test_a_chain_hands_results_on() -> None:
    """Each job waits for the one before and gets its result."""
    _, client, one, two = tasks()
    flow = chain(one.s(1), two.s(2), one.s()).delay()
    assert told(client) == [
        ("one", [1], None, [], False),
        ("two", [2], "first", [0], True),
        ("one", [], "first", [1], True),
    ]
    assert [job.id for job in flow.jobs] == [1, 2, 3]
    assert [job.id for job in flow.last] == [3]
    assert [job.queue for job in client.flows[0]] == ["default", "other", "default"]


def test_a_bar_is_a_chain() -> None:
    """``a | b | c`` reads as what it does."""
    _, client, one, two = tasks()
    (one.s(1) | two.s(2) | one.s()).delay()
    assert [after for *_, after, _ in told(client)] == [[], [0], [1]]


def test_an_immutable_call_takes_no_results() -> None:
    """It waits all the same."""
    _, client, one, two = tasks()
    chain(one.s(1), two.si(2, 3)).delay()
    assert told(client)[1] == ("two", [2, 3], None, [0], False)


def test_a_chord_gathers_all_results() -> None:
    """In the order of its members, after the last of them."""
    _, client, one, two = tasks()
    chord([one.s(1), one.s(2), one.s(3)], two.s("b")).delay()
    assert told(client)[:3] == [("one", [n], None, [], False) for n in (1, 2, 3)]
    assert told(client)[3] == ("two", ["b"], "list", [0, 1, 2], True)


def test_groups_within_chains_within_groups() -> None:
    """Each part waits for all that stands directly before it."""
    _, client, one, two = tasks()
    chain(
        one.s(0),
        group(chain(one.s(), two.s(1)), one.s()),
        group([two.s(2), two.si(3, 4)]),
    ).delay()
    assert told(client) == [
        ("one", [0], None, [], False),
        ("one", [], "first", [0], True),
        ("two", [1], "first", [1], True),
        ("one", [], "first", [0], True),
        ("two", [2], "list", [2, 3], True),
        ("two", [3, 4], None, [2, 3], False),
    ]


def test_an_empty_group_gives_an_empty_list() -> None:
    """A chord over nothing runs its body at once; a composition of nothing is refused."""
    _, client, one, _ = tasks()
    chord([], one.s()).delay()
    assert told(client) == [("one", [[]], None, [], False)]
    with pytest.raises(BadRequest, match="empty composition"):
        group().delay()


def test_an_empty_group_keeps_the_order() -> None:
    """What comes behind it still waits for what stands before it."""
    _, client, one, _ = tasks()
    chain(one.s(1), group([]), one.s()).delay()
    assert told(client) == [("one", [1], None, [], False), ("one", [[]], None, [0], False)]


def test_a_chain_of_any_length() -> None:
    """Put together by bars it is one chain, not thousands of chains in chains."""
    _, client, one, _ = tasks()
    reduce(or_, [one.s(1), *(one.s() for _ in range(3_000))]).delay()
    assert [job.after for job in client.flows[0]] == [None, *([place] for place in range(3_000))]


def test_calls_are_checked_with_the_result_to_come() -> None:
    """One argument too few or too many shows where the composition is made."""
    _, client, one, two = tasks()
    for parts in ([two.s(1)], [one.s(1), two.s()], [one.s(1), one.s(2)], [one.s()]):
        with pytest.raises(TypeError, match="task '"):
            chain(*parts).delay()
    assert client.flows == []


def test_one_app_only() -> None:
    """Tasks of two apps may live on two servers."""
    _, _, one, _ = tasks()
    _, _, other, _ = tasks()
    with pytest.raises(BadRequest, match="several apps"):
        chain(one.s(1), other.s()).delay()


async def test_results_of_flows() -> None:
    """That of the last job, or the list of a group's."""
    _, client, one, _ = tasks()
    client.endings += [Ending(2, "completed", Raw(b"7"))]
    assert chain(one.s(1), one.s()).delay().result(timeout=5) == 7
    client.endings += [Ending(1, "completed", Raw(b"1")), Ending(2, "completed", Raw(b"2"))]
    flow = await group(one.s(1), one.s(2)).adelay()
    assert await flow == [1, 2]


def test_options_and_unique_keys_go_along() -> None:
    """A part may have options of its own."""
    _, client, one, two = tasks()
    chain(one.options(queue="q", priority=4, unique_key="k").s(1), two.s(2)).delay()
    first = client.flows[0][0]
    assert (first.queue, first.priority, first.unique_key) == ("q", 4, "k")
