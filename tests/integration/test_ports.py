"""The ports of tests that run side by side."""

import subprocess
import sys

from tests.fakes.ports import free_port, kept_ports

MANY = 200

ELSEWHERE = f"""
from tests.fakes.ports import free_port
print(*(free_port() for _ in range({MANY})))
"""


def test_no_other_process_is_given_them() -> None:
    """What comes to a port while its server is away is never heard by a test in another process."""
    here = {int(port) for port in kept_ports().values()} | {free_port() for _ in range(MANY)}
    told = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, check=True, text=True)
    assert here.isdisjoint(map(int, told.stdout.split()))


def test_a_port_comes_back_late() -> None:
    """Who still asks for the server of one test meets none of the tests behind it."""
    assert len({free_port() for _ in range(MANY)}) == MANY
