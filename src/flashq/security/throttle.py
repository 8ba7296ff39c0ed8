"""How often one address may be wrong about a token: ten times a minute, then once a second.

A guess must cost time, not the guesser's patience with one connection, so what counts is the address, over all doors.
Whoever came in from an address before may come in again from there, however wrong others there are: clients behind
one gateway, or on one machine, do not lock each other out. Time is an argument.
"""

from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from msgspec import Struct

from flashq.errors import Overloaded

FREE_FAILURES: Final = 10
"""Wrong tokens a minute: a person who mistypes, or a fleet that restarts with an old token, is not stopped by it."""

WINDOW_MS: Final = 60_000
PAUSE_MS: Final = 1_000
"""Beyond the free ones, one try in this time: 86,400 a day, of which 256 random bits take no notice."""

MAX_ADDRESSES: Final = 10_000
"""Addresses that are remembered, and pairs of address and name: some megabytes. The oldest go first."""


class _Failures(Struct):
    """Of one address, since ``began`` (steady ms)."""

    began: int
    count: int
    last: int


class Throttle:
    """The wrong tokens of the last minute, and who was right from where."""

    def __init__(self) -> None:
        self._failures: dict[str, _Failures] = {}
        self._welcome: dict[tuple[str, str], None] = {}

    def check(self, peer: str, now_ms: int) -> None:
        """Refuse an address that was wrong too often.

        Args:
            peer: where the token came from.
            now_ms: steady ms.

        Raises:
            Overloaded: it has to wait; the sentence says how long.
        """
        failures = self._of(peer, now_ms)
        if failures is None or failures.count < FREE_FAILURES:
            return
        wait = failures.last + PAUSE_MS - now_ms
        if wait > 0:
            raise Overloaded(f"Too many wrong tokens from this address: try again in {wait} ms")

    def failed(self, peer: str, now_ms: int) -> None:
        """A token from there was wrong."""
        failures = self._of(peer, now_ms)
        if failures is None:
            _make_room(self._failures)
            self._failures[network(peer)] = _Failures(now_ms, 1, now_ms)
        else:
            failures.count += 1
            failures.last = now_ms

    def is_welcome(self, peer: str, name: str) -> bool:
        """Whether this one was let in from there before."""
        return (peer, name) in self._welcome

    def welcome(self, peer: str, name: str) -> None:
        """This one was let in from there."""
        _make_room(self._welcome)
        self._welcome[peer, name] = None

    def _of(self, peer: str, now_ms: int) -> _Failures | None:
        failures = self._failures.get(network(peer))
        if failures is not None and now_ms - failures.began >= WINDOW_MS:
            del self._failures[network(peer)]
            return None
        return failures


def network(peer: str) -> str:
    """What counts as one address: a host, but of IPv6 its /64, of which every host has all addresses."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if not isinstance(address, IPv6Address):
        return peer
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))


def _make_room(table: dict[Any, Any]) -> None:
    if len(table) >= MAX_ADDRESSES:
        del table[next(iter(table))]
