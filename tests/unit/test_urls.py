"""Taking a URL apart: what stands beside brackets is not forgotten."""

import pytest

from flashq.urls import split_url


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://queue.example:80/a[b]?c=[d]#[e]", "queue.example", 80),
        ("//localhost:6790", "localhost", 6790),
        ("http://[::1]", "::1", None),
        ("http://user:secret@[::1]:80/", "::1", 80),
        ("http:///path", None, None),
        ("", None, None),
    ],
)
def test_host_and_port(url: str, host: str | None, port: int | None) -> None:
    """As Python tells them; brackets elsewhere are nobody's business here."""
    parts = split_url(url)
    assert (parts.hostname, parts.port) == (host, port)


@pytest.mark.parametrize(
    "url",
    [
        "http://queue.example[::1]:80/",
        "http://[::1]queue.example:80/",
        "http://[::1][::2]/",
        "http://127.0.0.1:80[::1]/",
        "http://user@x@[::1]y/",
        "//queue.example[::1]",
        "http://[::1",
        "http://::1]",
        "http://[queue.example]/",
    ],
)
def test_brackets_that_are_not_around_a_whole_address(url: str) -> None:
    """Another host would be judged, shown or spoken to than the one that was named."""
    with pytest.raises(ValueError, match=r"."):
        split_url(url)
