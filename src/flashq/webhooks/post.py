"""One try of one webhook's call: an HTTP request to an address that may be called, and nothing read but its status.

Whoever may register a webhook must not thereby reach what only this server can reach. So every address that a name
resolves to is judged before any is connected to, and each socket again, by the address it is about to be connected to:
there is no second resolution in between that could say something else. Redirects are not followed, no proxy of the
environment is used, no cookie is kept, and no answer is unpacked.

Loading the HTTP client takes a good part of a second and some megabytes: import this module only where there is a call
to be made.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from io import BytesIO
from threading import Thread
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from flashq.security.addresses import is_public

TIMEOUT_S: Final = 10
"""Seconds that a try may take, from the resolution of the name to the end of the answer."""

MAX_ANSWER_BYTES: Final = 64 * 1024
"""How much of an answer is read, so that its connection can serve the next call; a longer one is cut off."""

KEEP_ALIVE_S: Final = 5
"""Seconds for which a connection is kept for the next call: below what receivers commonly allow."""

Addresses = list[tuple[int, str]]
"""(address family, address)"""

LookUp = Callable[[str, int], Awaitable[Addresses]]


class NotPublic(OSError):
    """An address that may not be called."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is not a public address")


class Poster:
    """Makes calls. To be built, used and closed on one loop."""

    def __init__(self, *, private: bool = False, look_up: LookUp | None = None) -> None:
        """Open nothing yet.

        Args:
            private: call addresses that are not public, too.
            look_up: resolves a name and a port; None = as the system does.
        """
        self._private = private
        connector = aiohttp.TCPConnector(
            resolver=_Judge(look_up or _look_up, private=private),
            use_dns_cache=False,
            socket_factory=self._socket,
            keepalive_timeout=KEEP_ALIVE_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            headers={"User-Agent": "FlashQ", "Accept": "*/*", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> str | None:
        """Try once.

        Args:
            url: where to.
            headers: besides those of every call.
            body: what is sent, to the byte.

        Returns:
            None when the answer was 2xx; else why the call does not count, without anything that may be secret.
        """
        try:
            call = self._session.post(
                URL(url, encoded=True), headers=headers, data=BytesIO(body), allow_redirects=False
            )
            async with call as response:
                await _read_some(response.content)
                return None if 200 <= response.status < 300 else _refusal(response.status)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return _why(error)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._session.close()

    def _socket(self, info: Any) -> socket.socket:  # noqa: ANN401  # the five members that getaddrinfo gives
        """The last judgement: of the very address that this socket will be connected to."""
        family, kind, protocol, _, address = info
        if not self._private and not is_public(address[0]):
            raise NotPublic(address[0])
        return socket.socket(family, kind, protocol)


class _Judge(AbstractResolver):
    """Resolves names, and refuses those of which any address may not be called."""

    def __init__(self, look_up: LookUp, *, private: bool) -> None:
        self._look_up = look_up
        self._private = private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name; raises OSError when there is none, or one that may not be called."""
        found = [each for each in await self._look_up(host, port) if family in (socket.AF_UNSPEC, each[0])]
        if not found:
            raise OSError(f"{host} has no address")
        for _, address in found:
            if not self._private and not is_public(address):
                raise NotPublic(address)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for family, address in found
        ]

    async def close(self) -> None:
        """There is nothing to let go of."""


async def _look_up(host: str, port: int) -> Addresses:
    """Ask the system, on a thread that nobody waits for at the end: resolving cannot be cut off, and may take long."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Addresses] = loop.create_future()

    def tell(found: Addresses | OSError) -> None:
        if answer.done():
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def run() -> None:
        found: Addresses | OSError
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = [(family, str(address[0])) for family, _, _, _, address in infos]
        except (OSError, UnicodeError) as error:
            found = error if isinstance(error, OSError) else OSError(str(error))
        with suppress(RuntimeError):  # the loop has closed
            loop.call_soon_threadsafe(tell, found)

    Thread(target=run, name="flashq-resolve", daemon=True).start()
    return await answer


async def _read_some(content: aiohttp.StreamReader) -> None:
    """Read an answer to its end, or to where it is too long; then its connection is not used again."""
    size = 0
    while size < MAX_ANSWER_BYTES and (part := await content.read(MAX_ANSWER_BYTES - size)):
        size += len(part)


def _refusal(status: int) -> str:
    return f"HTTP status {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")


def _why(error: Exception) -> str:
    """In our own words, since those of a library may hold the URL."""
    inner = getattr(error, "os_error", None) or error.__cause__ or error
    for each in (error, inner):
        if isinstance(each, NotPublic):
            return str(each)
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        found = getattr(error, "certificate_error", inner)
        detail = getattr(found, "verify_message", None) or getattr(found, "reason", None) or type(found).__name__
        return f"TLS failed: {detail}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"connecting failed: {error.strerror or type(inner).__name__}"
    if isinstance(inner, ssl.SSLError):
        return f"TLS failed: {inner.reason}"
    return f"the connection broke or the answer made no sense: {type(error).__name__}"
