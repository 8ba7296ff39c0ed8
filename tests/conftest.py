"""What tests of several folders share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.fakes.postgres import Databases, databases

# How long an example takes tells of the machine, which may stand still for a moment. Hypothesis knows that where CI is
# set; the rest is left as it finds best.
settings.register_profile("unhurried", settings.default, deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", name="databases")
def shared_databases() -> Iterator[Databases]:
    """A PostgreSQL server, started when the first test wants it: one for each process that runs tests."""
    with databases() as found:
        yield found
