"""What tests of several folders share."""

from collections.abc import Iterator

import pytest
from tests.fakes.postgres import Databases, databases


@pytest.fixture(scope="session", name="databases")
def shared_databases() -> Iterator[Databases]:
    """A PostgreSQL server, started when the first test wants it: one for each process that runs tests."""
    with databases() as found:
        yield found
