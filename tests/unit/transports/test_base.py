"""Unit tests of `flashq.transports.base`: both sides of the seam fit."""

import inspect
from typing import Any

import pytest

from flashq.errors import Overloaded
from flashq.server.archive import Archive
from flashq.server.runtime import Runtime
from flashq.transports.base import (
    MAX_UNFINISHED_BYTES,
    SMALL_UNFINISHED_BYTES,
    Door,
    Gated,
    Patient,
    Sender,
    Turns,
    Waiting,
    check_unfinished,
)
from flashq.transports.calls import Calls, Pending
from flashq.transports.tcp import LineConnection, _Wait
from flashq.webhooks.delivery import Deliveries


@pytest.mark.parametrize(
    ("protocol", "real"),
    [
        *((protocol, door) for door in (LineConnection, Calls) for protocol in (Door, Gated, Patient, Sender)),
        *((Gated, gated) for gated in (Archive, Deliveries)),
        *((Waiting, waiting) for waiting in (_Wait, Pending)),
        (Turns, Runtime),
    ],
    ids=lambda side: side.__name__,
)
def test_what_stands_on_either_side_has_what_the_other_needs(protocol: type[Any], real: type[Any]) -> None:
    """Every method of the seam is there, with the same parameters."""
    for name, wanted in vars(protocol).items():
        if not name.startswith("_") and callable(wanted):
            assert list(inspect.signature(getattr(real, name)).parameters) == list(inspect.signature(wanted).parameters)


def test_what_is_unfinished_is_bounded_over_all() -> None:
    """It takes both: all together hold too much, and this one is not a small one."""
    check_unfinished(SMALL_UNFINISHED_BYTES, MAX_UNFINISHED_BYTES + 1)
    check_unfinished(SMALL_UNFINISHED_BYTES + 1, MAX_UNFINISHED_BYTES)
    with pytest.raises(Overloaded, match="134217728 bytes over all connections"):
        check_unfinished(SMALL_UNFINISHED_BYTES + 1, MAX_UNFINISHED_BYTES + 1)
