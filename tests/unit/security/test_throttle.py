"""Unit tests of `flashq.security.throttle`."""

import pytest

from flashq.errors import Overloaded
from flashq.security import throttle
from flashq.security.throttle import FREE_FAILURES, PAUSE_MS, WINDOW_MS, Throttle, network

HERE, THERE = "192.0.2.1", "192.0.2.2"


def allowed(tried: Throttle, peer: str, now_ms: int) -> bool:
    """Whether a token from there would be looked at."""
    try:
        tried.check(peer, now_ms)
    except Overloaded:
        return False
    return True


def test_ten_a_minute_then_one_a_second() -> None:
    """The free ones come at once; after them one wrong token a second; a minute after the first all is forgotten."""
    tried = Throttle()
    for _ in range(FREE_FAILURES):
        assert allowed(tried, HERE, 0)
        tried.failed(HERE, 0)
    assert [allowed(tried, HERE, at) for at in (0, 1, PAUSE_MS - 1, PAUSE_MS)] == [False, False, False, True]
    tried.failed(HERE, PAUSE_MS)
    assert [allowed(tried, HERE, at) for at in (PAUSE_MS, 2 * PAUSE_MS - 1, 2 * PAUSE_MS)] == [False, False, True]
    tried.failed(HERE, WINDOW_MS - 1)
    assert not allowed(tried, HERE, WINDOW_MS - 1)
    assert allowed(tried, HERE, WINDOW_MS)
    assert allowed(tried, THERE, 0)


def test_a_guesser_who_never_rests_gets_one_a_second() -> None:
    """Over an hour of trying every ten milliseconds: ten and about one a second of each minute, no more."""
    tried = Throttle()
    looked_at = 0
    for now_ms in range(0, 3_600_000, 10):
        if allowed(tried, HERE, now_ms):
            tried.failed(HERE, now_ms)
            looked_at += 1
    assert 3_500 < looked_at <= 60 * (FREE_FAILURES + WINDOW_MS // PAUSE_MS)


def test_the_refusal_says_how_long() -> None:
    """A client that waits so long is looked at again."""
    tried = Throttle()
    for _ in range(FREE_FAILURES):
        tried.failed(HERE, 5_000)
    with pytest.raises(Overloaded, match=r"^Too many wrong tokens from this address: try again in 600 ms$"):
        tried.check(HERE, 5_400)


def test_who_was_let_in_from_there_is_welcome_there() -> None:
    """And nobody else, and nowhere else."""
    tried = Throttle()
    tried.welcome(HERE, "mailer")
    pairs = [(HERE, "mailer"), (THERE, "mailer"), (HERE, "other")]
    assert [tried.is_welcome(*pair) for pair in pairs] == [True, False, False]


def test_the_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses there are, the newest are remembered."""
    monkeypatch.setattr(throttle, "MAX_ADDRESSES", 3)
    tried = Throttle()
    for n in range(10):
        tried.failed(f"192.0.2.{n}", n)
        tried.welcome(f"192.0.2.{n}", "x")
    assert list(tried._failures) == ["192.0.2.7", "192.0.2.8", "192.0.2.9"]
    assert [tried.is_welcome(f"192.0.2.{n}", "x") for n in (6, 7, 9)] == [False, True, True]


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("unix", "unix"),
        ("", ""),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_what_counts_as_one_address(peer: str, counted: str) -> None:
    """Of IPv6 every host has 2^64: they are one. Either way of writing an IPv4 address is the same."""
    assert network(peer) == counted
