"""Finding the server: URLs, arguments, the environment, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.client.address import Address, parse, resolve
from flashq.errors import BadRequest


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("flashq://queue.example", Address(host="queue.example")),
        ("flashq://queue.example/", Address(host="queue.example")),
        ("flashq://queue.example:7000", Address(host="queue.example", port=7000)),
        ("flashq://secret@queue.example:7000", Address(host="queue.example", port=7000, token="secret")),
        ("flashq://:secret@queue.example", Address(host="queue.example", token="secret")),
        ("flashq://a%40b%3Fc@queue.example", Address(host="queue.example", token="a@b?c")),
        ("flashq://[::1]:7000", Address(host="::1", port=7000)),
        ("flashq://t@[2001:db8::2]", Address(host="2001:db8::2", token="t")),
        ("flashq://", Address()),
        ("flashqs://queue.example", Address(host="queue.example", tls=True)),
        ("flashqs://secret@[::1]:7000", Address(host="::1", port=7000, token="secret", tls=True)),
        ("http://queue.example", Address(host="queue.example", port=80, http=True)),
        ("http://t@queue.example:6790/", Address(host="queue.example", port=6790, token="t", http=True)),
        ("https://queue.example/a/b/", Address(host="queue.example", port=443, tls=True, http=True, path="/a/b")),
        ("flashq+unix:///run/flashq.sock", Address(unix_socket="/run/flashq.sock")),
        ("flashq+unix://secret@/run/flashq.sock", Address(unix_socket="/run/flashq.sock", token="secret")),
        ("flashq+unix:///run/a%20b", Address(unix_socket="/run/a b")),
    ],
)
def test_urls(url: str, address: Address) -> None:
    """Each documented form is read as it says."""
    assert parse(url) == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("flashqs://queue.example/path", "a flashqs:// URL ends after the port"),
        ("flashqs://queue.example?verify=0", "after ?"),
        ("ftp://queue.example", "ftp scheme"),
        ("http://queue.example:0", "port"),
        ("https://queue.example?verify=0", "after ?"),
        ("http://queue.example/a b", "must be escaped"),
        ("http://queue.example/\u00e9", "must be escaped"),
        ("queue.example:6789", "scheme"),
        ("", "no scheme"),
        ("flashq://queue.example:port", "port"),
        ("flashq://queue.example:0", "port"),
        ("flashq://queue.example:70000", "port"),
        ("flashq://queue.example/path", "ends after the port"),
        ("flashq://queue.example?tls=1", "after ?"),
        ("flashq://queue.example#x", "after ?"),
        ("flashq://user:pass@queue.example", "not a user and a password"),
        ("flashq+unix://run/flashq.sock", "three slashes"),
        ("flashq+unix:///", "path"),
        ("flashq://[::1", "cannot be read"),
        ("http:queue.example", "two slashes"),
        ("http:///queue.example", "two slashes"),
        ("flashq:queue.example", "two slashes"),
    ],
)
def test_refused_urls(url: str, why: str) -> None:
    """A URL that cannot be meant is refused with the reason, and never half understood."""
    with pytest.raises(BadRequest, match=why.replace("?", r"\?")):
        parse(url)


def test_arguments_win_over_the_url() -> None:
    """What stands in the program counts more than what stands in a string from elsewhere."""
    address = resolve("flashq://old@queue.example:7000", host="other", port=8000, token="new")
    assert address == Address(host="other", port=8000, token="new")


def test_a_part_of_the_url_can_be_replaced() -> None:
    """Naming only the port keeps the URL's host and token."""
    assert resolve("flashq://t@queue.example", port=8000) == Address(host="queue.example", port=8000, token="t")


def test_a_unix_socket_wins_over_the_url() -> None:
    """A path replaces host and port; the token stays."""
    assert resolve("flashq://t@queue.example", unix_socket="/run/f").unix_socket == "/run/f"


def test_host_wins_over_a_unix_url() -> None:
    """A host in the arguments means TCP, whatever the URL says."""
    assert resolve("flashq+unix:///run/f", host="queue.example").unix_socket == ""


def test_unix_socket_and_port_contradict() -> None:
    """Two servers in one call are refused rather than one of them ignored."""
    with pytest.raises(BadRequest, match="not both"):
        resolve(unix_socket="/run/f", port=1)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLASHQ_URL is read when the program names no server."""
    monkeypatch.setenv("FLASHQ_URL", "flashq://t@queue.example:7000")
    assert resolve() == Address(host="queue.example", port=7000, token="t")
    assert resolve(token="mine").token == "mine"


def test_arguments_silence_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named server is the one that is used, whole: no port or token comes from the environment."""
    monkeypatch.setenv("FLASHQ_URL", "flashq://t@queue.example:7000")
    assert resolve(host="other") == Address(host="other")


def test_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word, the server on this machine is meant; an empty variable is none."""
    monkeypatch.setenv("FLASHQ_URL", "")
    assert resolve() == Address(host="127.0.0.1", port=6789)


def test_brackets_are_taken_off() -> None:
    """An IPv6 literal may be given with its brackets, as people copy it."""
    assert resolve(host="[::1]").host == "::1"


@pytest.mark.parametrize(
    "host", ["", "localhost:7000", "[::1]:7000", "flashq://queue.example", "queue.example/q", "[]"]
)
def test_a_host_is_a_host_alone(host: str) -> None:
    """What belongs elsewhere is refused here: it would only be a name that nobody knows."""
    with pytest.raises(BadRequest, match="a name or an address alone"):
        resolve(host=host)


@pytest.mark.parametrize("token", ["", "  "])
def test_empty_token(token: str) -> None:
    """An empty token is an unset variable, not a wish to go without."""
    with pytest.raises(BadRequest, match="token is empty"):
        resolve(token=token)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_port_out_of_range(port: int) -> None:
    """A port that cannot be is refused here, not by the operating system."""
    with pytest.raises(BadRequest, match="port"):
        resolve(port=port)


def test_the_token_is_not_shown() -> None:
    """Neither text of an address holds the token: both end up in logs."""
    address = Address(host="::1", token="secret")
    assert str(address) == "flashq://[::1]:6789"
    assert "secret" not in repr(address)
    assert str(Address(unix_socket="/run/f", token="secret")) == "flashq+unix:///run/f"
    assert str(parse("https://secret@[::1]/below/")) == "https://[::1]:443/below"
    assert str(parse("flashqs://secret@h")) == "flashqs://h:6789"


@given(st.text())
def test_any_text_is_read_or_refused(url: str) -> None:
    """No text whatever raises anything but BadRequest, and no refusal repeats the text."""
    try:
        parse(url)
    except BadRequest:
        return


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=8))
def test_refusals_do_not_repeat_the_token(token: str) -> None:
    """A URL is refused without its token in the sentence."""
    with pytest.raises(BadRequest) as refusal:
        parse(f"flashq://{token}@h:x")
    assert token not in str(refusal.value).replace("flashq", "").replace("FlashQ", "").replace("65535", "")


@pytest.mark.parametrize(
    "url", ["flashq://hush-hush@queu\u2100.example", "flashq://hush-hush@[::1", "http://[hush-hush]"]
)
def test_refusals_do_not_repeat_what_python_repeats(url: str) -> None:
    """Python's sentence about a URL that it cannot take apart holds a part of it, where a token may stand."""
    with pytest.raises(BadRequest, match="cannot be read") as refusal:
        parse(url)
    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "flashq://queue.example[::1]:6789",
        "flashq://[::1]queue.example:6789",
        "flashq://[::1][::2]",
        "flashq://:secret@[::1]xamcret@[:ple",
        "flashq+unix://[::1]x/run/f",
    ],
)
def test_what_stands_beside_brackets(url: str) -> None:
    """It is not forgotten: another server would be spoken to than the one that was named."""
    with pytest.raises(BadRequest, match="wrong brackets"):
        parse(url)


def test_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose certificates are believed: the argument's, else those of FLASHQ_CA, else the system's."""
    monkeypatch.setenv("FLASHQ_CA", "/etc/ours.pem")
    assert resolve("flashqs://queue.example").ca == "/etc/ours.pem"
    assert resolve("flashqs://queue.example", ca="mine.pem").ca == "mine.pem"
    assert resolve("flashqs://queue.example", port=1).tls
    monkeypatch.delenv("FLASHQ_CA")
    assert resolve("flashqs://queue.example").ca == ""


@pytest.mark.parametrize("arguments", [{}, {"host": "queue.example"}, {"unix_socket": "/run/f"}])
def test_certificates_without_tls(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, str]) -> None:
    """The variable changes nothing without TLS; an argument is a misunderstanding, and is refused."""
    monkeypatch.setenv("FLASHQ_CA", "/etc/ours.pem")
    address = resolve(**arguments)
    assert (address.tls, address.ca) == (False, "")
    with pytest.raises(BadRequest, match="asks for TLS"):
        resolve(ca="mine.pem", **arguments)


def test_a_unix_socket_in_place_of_tls() -> None:
    """A path replaces a URL with TLS whole: the machine's own sockets are plain."""
    assert not resolve("flashqs://queue.example", unix_socket="/run/f").tls
    plain = resolve("https://queue.example/below", unix_socket="/run/f")
    assert (plain.http, plain.tls, plain.path) == (False, False, "")
