"""Where the server is and with which token to speak to it: a URL, plain arguments, or ``FLASHQ_URL``.

::

    flashq://host:6789              TCP; the port may be left out
    flashq://TOKEN@[::1]:6789       with a token; IPv6 addresses stand in brackets
    flashqs://host:6789             TCP inside TLS
    flashq+unix:///run/flashq.sock  a Unix socket (``flashq+unix://TOKEN@/run/flashq.sock`` with a token)
    http://host:6790                HTTP; without a port it is that of the web, 80
    https://host/flashq             HTTP inside TLS, on port 443, below a path of a proxy

This is the one place of the client that reads the environment. Where the server is, it reads only when the caller
named no server at all: an argument always wins, so that a stray variable cannot send jobs to another server than the
one the program names. ``FLASHQ_CA`` says whose certificates are believed; whoever may set the environment of a program
may as well change the system's list.

There is no way to switch the check of certificates off: it would be found in the first answer to the first error, and
TLS that believes everybody only looks like TLS. A certificate of one's own is believed by naming it in ``ca``.
"""

import os
from typing import Final
from urllib.parse import SplitResult, unquote

from msgspec import Struct

from flashq.errors import BadRequest
from flashq.urls import split_url

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 6789
HTTP_PORTS: Final = {"http": 80, "https": 443}
"""What a URL of the web means without a port; behind a proxy it is what one expects."""

_STRANGE: Final = frozenset("/[]@?# ")
"""What stands in a URL, and in no host."""

URL_VARIABLE: Final = "FLASHQ_URL"
CA_VARIABLE: Final = "FLASHQ_CA"


class Address(Struct, frozen=True, kw_only=True):
    """One server.

    Attributes:
        host: name or address, without brackets; empty for a Unix socket.
        port: TCP port.
        unix_socket: path of a Unix socket; empty for TCP.
        token: what to authenticate with; None sends no AUTH.
        tls: whether the connection is encrypted and the server shows who it is.
        ca: path of the certificates that are believed; empty: those that the system believes.
        http: whether the lines go over HTTP.
        path: what stands before each path of HTTP, without a slash at its end.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    unix_socket: str = ""
    token: str | None = None
    tls: bool = False
    ca: str = ""
    http: bool = False
    path: str = ""

    def __str__(self) -> str:
        """The address as a URL, without the token: it stands in error texts and logs."""
        if self.unix_socket:
            return f"flashq+unix://{self.unix_socket}"
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def netloc(self) -> str:
        """Host and port as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def scheme(self) -> str:
        """What its URL begins with; of an address that is no Unix socket."""
        return ("http" if self.http else "flashq") + ("s" if self.tls else "")

    def __repr__(self) -> str:
        return f"Address({str(self)!r}, token={'set' if self.token else None})"


def resolve(
    url: str | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    unix_socket: str | None = None,
    token: str | None = None,
    ca: str | None = None,
) -> Address:
    """Put together what the caller said; the environment and the defaults fill what he left out.

    Args:
        url: any of the forms above; None means ``FLASHQ_URL`` if nothing else names a server.
        host: replaces the URL's host; a name or an address alone.
        port: replaces the URL's port.
        unix_socket: path of a Unix socket; replaces host and port.
        token: replaces the URL's token.
        ca: path of the certificates to believe, of a URL that asks for TLS; None means ``FLASHQ_CA``, else those of
            the system.

    Raises:
        BadRequest: the URL or an argument cannot be used, or they contradict each other.
    """
    if unix_socket is not None and (host is not None or port is not None):
        raise BadRequest("Invalid: give either unix_socket or host and port, not both")
    if url is None and host is None and port is None and unix_socket is None:
        url = os.environ.get(URL_VARIABLE) or None
    named = parse(url) if url is not None else Address()
    if token is None:
        token = named.token
    if unix_socket is None and host is None and port is None:
        unix_socket = named.unix_socket
    tls = named.tls and not unix_socket
    http = named.http and not unix_socket
    return Address(
        host=named.host if host is None else _checked_host(host),
        port=named.port if port is None else _checked_port(port),
        unix_socket=unix_socket or "",
        token=_checked_token(token),
        tls=tls,
        ca=_believed(ca, tls=tls),
        http=http,
        path=named.path if http else "",
    )


def parse(url: str) -> Address:
    """Read one URL.

    Raises:
        BadRequest: not a FlashQ URL, or one that asks for what this client does not do. The text never holds
            the URL itself, which may carry a token.
    """
    try:
        parts = split_url(url)
    except ValueError:  # its sentence would repeat a part of the URL
        raise BadRequest("Invalid: the FlashQ URL cannot be read: wrong brackets, or a host that is no name") from None
    if parts.query or parts.fragment:
        raise BadRequest(
            "Invalid: a FlashQ URL has no part after ? or #; write such a character in a token as %3F, %23"
        )
    if parts.scheme in {"flashq", "flashqs", *HTTP_PORTS}:
        return _parse_tcp(parts)
    if parts.scheme == "flashq+unix":
        return _parse_unix(parts)
    raise BadRequest(
        f"Invalid: {parts.scheme or 'no'} scheme in the FlashQ URL; use flashq://, flashqs://, http://, https:// "
        "or flashq+unix://"
    )


def _parse_tcp(parts: SplitResult) -> Address:
    http = parts.scheme in HTTP_PORTS
    if (
        parts.path and not parts.netloc
    ):  # without its slashes a host would be read as a path, and this machine be spoken to instead
        raise BadRequest(f"Invalid: a {parts.scheme}:// URL has its host behind two slashes")
    if parts.path not in {"", "/"} and not http:
        raise BadRequest(f"Invalid: a {parts.scheme}:// URL ends after the port")
    try:
        port = parts.port
    except ValueError:
        raise BadRequest("Invalid: the port of the FlashQ URL must be a number from 1 to 65535") from None
    return Address(
        host=parts.hostname or DEFAULT_HOST,
        port=HTTP_PORTS.get(parts.scheme, DEFAULT_PORT) if port is None else _checked_port(port),
        token=_token_of(parts),
        tls=parts.scheme in {"flashqs", "https"},
        http=http,
        path=_checked_path(parts.path) if http else "",
    )


def _parse_unix(parts: SplitResult) -> Address:
    if parts.hostname:
        raise BadRequest("Invalid: a Unix socket's URL has three slashes: flashq+unix:///path")
    path = unquote(parts.path)
    if len(path) < 2:
        raise BadRequest("Invalid: a flashq+unix:// URL needs the path of the socket")
    return Address(unix_socket=path, token=_token_of(parts))


def _token_of(parts: SplitResult) -> str | None:
    """The token, which may stand as the user or, as other tools write it, as the password."""
    if parts.password and parts.username:
        raise BadRequest("Invalid: a FlashQ URL holds a token before the @, not a user and a password")
    token = parts.password or parts.username
    return unquote(token) if token else None


def _checked_host(host: str) -> str:
    """The host without brackets. Only an address of IPv6 has colons, and has two of them at least."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or bare.count(":") == 1 or not _STRANGE.isdisjoint(bare):
        raise BadRequest("Invalid: host is a name or an address alone; give the port as port, a URL as url")
    return bare


def _checked_port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise BadRequest("Invalid: the port must be a number from 1 to 65535")
    return port


def _checked_path(path: str) -> str:
    """The path as it stands in requests. What would end it, or the request's line, must be escaped there."""
    if not (path.isascii() and path.isprintable()) or " " in path:
        raise BadRequest("Invalid: the path of the FlashQ URL must be escaped: %20 for a space")
    return path.rstrip("/")


def _checked_token(token: str | None) -> str | None:
    """An empty token is a deployment mistake (an unset variable), not a wish to go without."""
    if token is not None and not token.strip():
        raise BadRequest("Invalid: the token is empty; leave it out to speak without one")
    return token


def _believed(ca: str | None, *, tls: bool) -> str:
    """The path of the certificates. One given without TLS is refused: its giver believes himself safe."""
    if tls:
        return ca or os.environ.get(CA_VARIABLE) or ""
    if ca:
        raise BadRequest("Invalid: ca is for a URL that asks for TLS, such as flashqs://")
    return ""
