"""One desk for each test."""

import pytest
from tests.unit.commands.desk import Desk


@pytest.fixture
def desk() -> Desk:
    """An empty engine behind its commands."""
    return Desk()
