"""Unit tests of `flashq.security.tokens`."""

import random
import secrets
from collections.abc import Callable
from math import ceil, sqrt
from statistics import fmean, variance
from time import perf_counter_ns
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.security import tokens
from flashq.security.identity import Identity
from flashq.security.tokens import Tokens, digest


def known(*words: str) -> Tokens:
    """Each word is the token of an identity of the same name."""
    return Tokens([(digest(word), Identity(word)) for word in words])


@given(st.lists(st.text(min_size=1, max_size=10), max_size=4, unique=True), st.text(max_size=10))
def test_exactly_the_tokens_are_right(words: list[str], tried: str) -> None:
    """Each of them is its owner's, and nothing else is anybody's, whatever the characters."""
    checked = known(*words)
    for word in {*words, tried}:
        found = checked.find(word)
        assert (found.name if found else None) == (word if word in words else None)


def test_tokens_are_not_kept() -> None:
    """Only their digests are: what leaks from memory opens nothing."""
    checked = Tokens([(digest("a-secret-word"), Identity("name"))])
    assert "a-secret-word" not in repr(vars(checked))


def test_every_token_is_looked_at_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes does not tell which of them was right, or how close a guess came."""
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr(tokens, "compare_digest", compare)
    checked = known("first", "second", "third")
    for token in ("first", "third", "wrong"):
        checked.find(token)
    assert len(compared) == 9


TRIES: Final = 200_000
WORDS_OF_A_CLASS: Final = 1_000
"""As many different guesses of each kind, so that neither is better cached than the other."""

LEAKS: Final = 4.5
"""Welch's t beyond which two kinds of guesses take different times; chance gets there once in 100,000 runs."""


def difference(find: Callable[[str], object], one: list[str], other: list[str]) -> float:
    """Welch's t between the times that two kinds of guesses take, asked for in random order.

    A guess is one observation, however often it was asked for: its place in memory makes it a little faster or slower
    each time. All are made anew, so that chance decides on their places. Of each the longest tenth is left out: an
    interrupt tells of the machine.
    """
    order = random.Random()
    guesses = [(kind, word) for kind, words in enumerate((one, other)) for word in words]
    order.shuffle(guesses)
    guesses = [(kind, word.encode().decode()) for kind, word in guesses]
    taken: list[list[int]] = [[] for _ in guesses]
    for _ in range(TRIES):
        number = order.randrange(len(guesses))
        guess = guesses[number][1]
        began = perf_counter_ns()
        find(guess)
        taken[number].append(perf_counter_ns() - began)
    means: tuple[list[float], list[float]] = ([], [])
    for (kind, _), times in zip(guesses, taken, strict=True):
        means[kind].append(fmean(sorted(times)[: ceil(0.9 * len(times))]))
    spread = sum(variance(each) / len(each) for each in means)
    return abs(fmean(means[0]) - fmean(means[1])) / sqrt(spread)


RIGHT: Final = [secrets.token_urlsafe(32) for _ in range(50)]
FAR: Final = [secrets.token_urlsafe(32) for _ in range(WORDS_OF_A_CLASS)]
NEAR: Final = [RIGHT[0][:-3] + f"{n:03x}" for n in range(WORDS_OF_A_CLASS)]


@pytest.mark.slow
@pytest.mark.alone
def test_how_long_a_refusal_takes_tells_nothing() -> None:
    """A guess that has all but the end of a token right takes as long as one that has nothing right."""
    assert difference(known(*RIGHT).find, NEAR, FAR) < LEAKS


@pytest.mark.slow
@pytest.mark.alone
def test_the_clock_would_see_it() -> None:
    """A comparison that stops at the first wrong letter is found out by the same measurement."""

    def careless(guess: str) -> bool:
        return all(one == other for one, other in zip(guess, RIGHT[0], strict=True))

    assert difference(careless, NEAR, FAR) > LEAKS
