"""Unit tests of `flashq.security.addresses`."""

import pytest

from flashq.security.addresses import is_public, why_refused

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8", "2002:808:808::1",
]  # fmt: skip

INWARD = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
    "ff02::1", "2001::1", "2001:db8::1", "3fff::1", "100::1", "4000::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0a00:0001", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::",
    "", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3.4.5", "example.org",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """Out on the internet, up to the borders of what is not."""
    assert is_public(address)


@pytest.mark.parametrize("address", INWARD)
def test_not_public(address: str) -> None:
    """Every kind of address that leads inward, also wrapped in another; and what is no address."""
    assert not is_public(address)


@pytest.mark.parametrize("url", [
    "https://example.org", "http://example.org:8080/a/b?c=d&e=%20#f", "HTTPS://EXAMPLE.ORG/", "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]:8443/", "https://xn--bcher-kva.example/", "https://localhost.example.org/",
])  # fmt: skip
def test_what_may_be_called(url: str) -> None:
    """Names are judged when they are resolved, so any name passes here."""
    assert why_refused(url, private=False) is None


@pytest.mark.parametrize(("url", "words"), [
    ("http://127.0.0.1/", "not public"), ("http://[::1]:80/", "not public"), ("http://10.1.2.3/", "not public"),
    ("http://169.254.169.254/latest/meta-data", "not public"), ("http://[::ffff:10.0.0.1]/", "not public"),
    ("http://localhost/", "this machine"), ("http://LOCALHOST.:80/", "this machine"), ("http://a.localhost/", "this m"),
    ("http://127.1/", "short form"), ("http://0x7f000001/", "short form"), ("http://2130706433/", "short form"),
    ("http://0177.0.0.1/", "short form"),
])  # fmt: skip
def test_what_leads_inward(url: str, words: str) -> None:
    """Refused, unless such addresses are allowed."""
    assert words in (why_refused(url, private=False) or "")
    assert why_refused(url, private=True) is None


@pytest.mark.parametrize(("url", "words"), [
    ("", "must begin"), ("example.org", "must begin"), ("ftp://example.org/", "must begin"),
    ("javascript:alert(1)", "must begin"), ("//example.org/", "must begin"), ("http://", "no host"),
    ("http:///path", "no host"), ("http://:80/", "no host"), ("http://example.org:0/", "no host"),
    ("http://example.org:65536/", "cannot be read"), ("http://example.org:x/", "cannot be read"),
    ("http://[::1/", "cannot be read"), ("http://hooks.example[2606:4700::1]/", "cannot be read"),
    ("http://[2606:4700::1]hooks.example/", "cannot be read"), ("http://user@example.org/", "a user"),
    ("http://u:p@example.org/", "a user"),
    ("http://:@example.org/", "a user"), ("http://bücher.example/", "only the characters"),
    ("http://a b/", "only the characters"), ("http://example.org/\r\nX: y", "only the characters"),
    ("http://example.org\\@10.0.0.1/", "only the characters"), ("http://example.org/\x7f", "only the characters"),
    ("http://example.org/\t", "only the characters"), (" http://example.org/", "only the characters"),
])  # fmt: skip
def test_what_is_no_url_of_a_receiver(url: str, words: str) -> None:
    """Refused in any case, and the sentence says why."""
    assert words in (why_refused(url, private=False) or "")
    assert words in (why_refused(url, private=True) or "")
