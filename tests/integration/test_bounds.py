"""Bounds that only show when a client asks for more than it reads, or many clients say half of something."""

from tests.fakes.server_process import LineClient, line


def test_a_half_closed_client_gets_all_it_asked_for(client: LineClient, queue: str) -> None:
    """A client that asks for 64 MB, says that it will say no more, and only then reads, gets every answer."""
    job = client.ok("PUSH", queue=queue, data="x" * 1_000_000)["id"]
    client.send_raw(line("GETJOB", id=job) * 64)
    client.half_close()
    answers = client.rest()
    assert [answer["state"] for answer in answers] == ["waiting"] * 64
