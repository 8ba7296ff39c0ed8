"""The wall clock of a running server is set: attempts last as long as they should, schedules fire once an instant.

Under libfaketime, which reads the offset of the wall clock from a file and leaves the steady clock alone. What a clock
that is set does to everything else is tried by the simulator, and daylight saving by the tests of cron expressions.
"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import LineClient, ServerProcess
from tests.fakes.tools import needs

SECOND: Final = 1
HOUR: Final = 3_600
DAY: Final = 86_400
NOTICE_SECONDS: Final = 10
"""A server looks at its clocks once a second; the rest is for a machine that is busy."""

BEGIN: Final = datetime(2030, 1, 15, 12, tzinfo=UTC)
"""Where every clock begins: hours from the daily schedule of a test, and months from summer time."""

ATTEMPT_MS: Final = 4_000
SLACK_MS: Final = 20


class Clock:
    """The wall clock of a server, so many seconds ahead of ours; it begins at a time that is always the same."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ahead = BEGIN.timestamp() - time.time()
        self.forward(0)

    def forward(self, seconds: float) -> None:
        """Set it forwards, or backwards."""
        self._ahead += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._ahead:+.3f}\n")
        new.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """The clock of the server."""
    return Clock(tmp_path / "offset")


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[ServerProcess]:
    """A server under that clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    needs(bool(found), "libfaketime")
    environment = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "offset"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with ServerProcess(tmp_path, environment=environment) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[LineClient]:
    """A connection."""
    with server.client() as client:
        yield client


def jumps(server: ServerProcess) -> int:
    """How many the server has counted."""
    with HttpClient(server.http_port) as web:
        page = web.ask("GET", "/metrics/prometheus").body.decode()
    found = re.search(r"^flashq_clock_jumps_total (\S+)$", page, re.MULTILINE)
    assert found is not None, page
    return int(float(found[1]))


def soon(holds: Callable[[], bool], what: str) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + NOTICE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def set_and_noticed(server: ServerProcess, clock: Clock, seconds: float) -> None:
    """Set the clock and wait until the server knows."""
    before = jumps(server)
    clock.forward(seconds)
    soon(lambda: jumps(server) > before, f"a jump of {seconds} s was not noticed")


def state(client: LineClient, id: int) -> str:
    """The state of a job."""
    return str(client.ok("GETJOB", id=id)["state"])


@pytest.mark.slow
def test_every_jump_is_counted_once(server: ServerProcess, clock: Clock, client: LineClient) -> None:
    """Hours and days, forwards and backwards. A clock that is slowed down for a leap second does not jump."""
    client.ok(
        "CRON", name="new year", queue="q", schedule="@yearly"
    )  # with nothing to wait for it would look at no clock
    leaps = (HOUR, -HOUR, DAY, -DAY, -HOUR, DAY)
    for leap in leaps:
        set_and_noticed(server, clock, leap)
    assert jumps(server) == len(leaps)
    for _ in range(20):
        clock.forward(-0.05)
        time.sleep(0.1)  # so fast that no smear is as fast
    assert jumps(server) == len(leaps)


@pytest.mark.slow
@pytest.mark.parametrize("leap", [SECOND, -SECOND, HOUR, -HOUR, DAY, -DAY])
def test_an_attempt_lasts_as_long_as_it_should(
    server: ServerProcess, clock: Clock, client: LineClient, leap: int
) -> None:
    """Whatever the wall clock says meanwhile, and a retry that was promised for at once comes at once."""
    id = client.ok("PUSH", queue="q", data=1, timeout=ATTEMPT_MS, backoff=0, max_attempts=2)["id"]
    began = time.monotonic()
    assert client.ok("PULL", queue="q")["job"]["id"] == id
    time.sleep(0.2)  # into the attempt
    clock.forward(leap)
    while True:
        now = state(client, id)
        lasted_ms = (time.monotonic() - began) * 1_000
        if now != "active":
            break
        assert lasted_ms < ATTEMPT_MS + NOTICE_SECONDS * 1_000, "the attempt does not end"
        time.sleep(0.02)
    assert lasted_ms >= ATTEMPT_MS - SLACK_MS, f"over after {lasted_ms:.0f} ms"
    again = client.ok("PULL", queue="q", timeout=NOTICE_SECONDS * 1_000)["job"]
    assert again is not None
    assert again["id"] == id


@pytest.mark.slow
def test_a_day_comes_once(server: ServerProcess, clock: Clock, client: LineClient) -> None:
    """A daily schedule fires once a day that came, also when a day comes twice; days that are skipped make one job."""
    client.ok("CRON", name="daily", queue="daily", schedule="30 3 * * *", timezone="Europe/Rome")
    client.ok("CRON", name="often", queue="often", schedule="*/1")
    for leap, fired in ((DAY, 1), (-DAY, 0), (DAY, 0), (DAY, 1), (-HOUR, 0), (HOUR, 0), (7 * DAY, 1), (DAY, 1)):
        set_and_noticed(server, clock, leap)
        if leap > 0:
            drain(client, "often")
            soon(lambda: bool(drain(client, "often")), "the other schedule has stopped")
        assert len(drain(client, "daily")) == fired, f"after {leap} s"


@pytest.mark.slow
def test_a_second_comes_once(server: ServerProcess, clock: Clock, client: LineClient) -> None:
    """A schedule of every second never fires twice in one second of the wall clock, and goes on when it is new."""
    client.ok("CRON", name="often", queue="often", schedule="* * * * * *")
    seconds: list[int] = []
    for leap in (SECOND, -SECOND, HOUR, -HOUR, HOUR, DAY, -DAY, DAY):
        clock.forward(leap)
        if leap > 0:
            more: list[dict[str, Any]] = []
            soon(lambda more=more: bool(more.extend(drain(client, "often"))) or len(more) >= 2, "it has stopped")  # type: ignore[misc]
            seconds += [job["created_at"] // 1_000 for job in more]
    seconds += [job["created_at"] // 1_000 for job in drain(client, "often")]
    assert len(seconds) == len(set(seconds)), f"twice: {sorted(each for each in seconds if seconds.count(each) > 1)}"


def drain(client: LineClient, queue: str) -> list[dict[str, Any]]:
    """Finish what waits in a queue; what is known of it."""
    jobs = client.ok("PULLB", queue=queue, count=100, timeout=0)["jobs"]
    known = [client.ok("GETJOB", id=job["id"])["job"] for job in jobs]
    if jobs:
        client.ok("ACKB", ids=[job["id"] for job in jobs], tokens=[job["token"] for job in jobs])
    return known
