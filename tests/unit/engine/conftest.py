"""The workbench as a fixture: whatever a test does with it, no invariant of the engine is broken at its end."""

from collections.abc import Iterator

import pytest
from tests.unit.engine.bench import Bench

from flashq.engine.check import check


@pytest.fixture
def bench() -> Iterator[Bench]:
    """An empty engine with the default settings."""
    bench = Bench()
    yield bench
    assert check(bench.engine) == []
