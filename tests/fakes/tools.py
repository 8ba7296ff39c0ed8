"""Tests that need root or a tool: skipped with the reason where it is missing, failed where it must be there."""

import os

import pytest


def needs(condition: bool, what: str) -> None:
    """Skip where something is missing; fail instead with ``FLASHQ_REQUIRE_CHAOS=1``, as in CI.

    Args:
        condition: whether it is there.
        what: it is, for the reason.
    """
    if not condition:
        if os.environ.get("FLASHQ_REQUIRE_CHAOS") == "1":
            pytest.fail(f"needs {what}")
        pytest.skip(f"needs {what}")
