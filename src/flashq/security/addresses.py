"""Which addresses are out on the internet, and which lead inward: to this machine, its networks, its cloud.

A server that calls any URL it is given can be made to call what only it can reach. So addresses are judged, never
names: a name means what its owner's name server says it does at that moment. The networks stand here one by one, from
the registries of special-purpose addresses, because what Python calls global has changed between its versions.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import inet_aton
from typing import Final

from flashq.urls import split_url

_INWARD_4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; connecting to it reaches this machine
        "10.0.0.0/8",
        "100.64.0.0/10",  # behind a carrier's address translation; one cloud has its metadata here
        "127.0.0.0/8",
        "168.63.129.16/32",  # one cloud's services for its machines
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols, and one cloud's metadata
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_OUTWARD_6: Final = IPv6Network("2000::/3")
_INWARD_6: Final = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20")
)  # protocols such as tunnels, and what is for documentation
_NAT64: Final = IPv6Network("64:ff9b::/96")

_SCHEMES: Final = ("http", "https")


def is_public(address: str) -> bool:
    """Whether an address is out on the internet. One that wraps another is what it wraps.

    Args:
        address: IPv4 or IPv6, in its usual notation. What is not an address is not public.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or _behind_nat64(found)
        if inner is None:
            return found in _OUTWARD_6 and not any(found in network for network in _INWARD_6)
        found = inner
    return not any(found in network for network in _INWARD_4)


def why_refused(url: str, *, private: bool) -> str | None:
    """What is wrong with a URL that the server is to call, as far as that can be told without resolving its name.

    Args:
        url: as it was given.
        private: whether addresses that are not public are allowed.

    Returns:
        The end of a sentence that begins with "the URL", or None when it may be tried.
    """
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        return "may hold only the characters of a URL; others are written as %XX, and names as punycode"
    try:
        parts = split_url(url)
        port = parts.port
    except ValueError:
        return "cannot be read"
    if parts.scheme not in _SCHEMES:
        return "must begin with http:// or https://"
    host = parts.hostname
    if not host or port == 0:
        return "names no host that can be called"
    if parts.username is not None or parts.password is not None:
        return "may not hold a user or a password"
    return None if private else _why_inward(host)


def _why_inward(host: str) -> str | None:
    name = host.removesuffix(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return "names this machine, which is not a public address"
    try:
        ip_address(host)
    except ValueError:
        return "names an address in a short form; write its four numbers" if _is_short_form(name) else None
    return None if is_public(host) else "names an address that is not public"


def _is_short_form(name: str) -> bool:
    """Whether it is one of the old spellings of an IPv4 address, as 127.1 or 0x7f000001."""
    try:
        inet_aton(name)
    except OSError:
        return False
    return True


def _behind_nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
