"""Unit tests of `flashq.transports.base`: both sides of the seam fit."""

import inspect
from typing import Any

import pytest

from flashq.server.runtime import Runtime
from flashq.transports.base import Gated, Turns, Waiting
from flashq.transports.tcp import LineConnection, _Wait


@pytest.mark.parametrize(
    ("protocol", "real"),
    [(Gated, LineConnection), (Waiting, _Wait), (Turns, Runtime)],
    ids=["Gated", "Waiting", "Turns"],
)
def test_what_stands_on_either_side_has_what_the_other_needs(protocol: type[Any], real: type[Any]) -> None:
    """Every method of the seam is there, with the same parameters."""
    for name, wanted in vars(protocol).items():
        if not name.startswith("_") and callable(wanted):
            assert list(inspect.signature(getattr(real, name)).parameters) == list(inspect.signature(wanted).parameters)
