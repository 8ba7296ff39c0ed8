"""Who asks over HTTP, and whether a browser was talked into asking.

A browser sends requests on behalf of any page that it shows, also to addresses that only this machine can reach. So
what changes something is refused when it comes from another site's page, and a server that trusts whoever reaches it
over the loopback interface answers only to names of that interface: another name may be a page's that was pointed here.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qsl

from flashq.commands.execute import permit, speak_for
from flashq.commands.session import Context, Session
from flashq.errors import BadRequest, Forbidden, Unauthorized
from flashq.model import Instant
from flashq.urls import split_url

Scope = Mapping[str, Any]

ANY: Final = "*"
DOOR: Final = "http"
"""What the history of jobs calls this door."""

MAX_QUERY_MEMBERS: Final = 50
"""More than any request has members."""


class Gatekeeper:
    """Lets requests in, or not."""

    def __init__(
        self,
        context: Context,
        clock: Callable[[], Instant],
        *,
        origins: tuple[str, ...] = (),
        hosts: tuple[str, ...] = (ANY,),
    ) -> None:
        """Build it.

        Args:
            context: knows who may come in.
            clock: tells this moment.
            origins: of other sites whose pages may ask; ``*``: any.
            hosts: names under which this server may be asked for, without ports; ``*``: any.
        """
        self._context = context
        self._clock = clock
        self._origins = frozenset(origins)
        self._hosts = frozenset(hosts)

    def admit(
        self, scope: Scope, headers: Mapping[bytes, bytes], *, same_site: bool = False, token_in_query: bool = False
    ) -> Session:
        """Let a request in: asked for this host, from no other site's page, by somebody whom we know.

        Args:
            scope: of the request.
            headers: the request's.
            same_site: pages of other sites are refused, since it changes something or listens.
            token_in_query: its token may stand in the query, where it cannot stand in a header.

        Raises:
            FlashQError: it stays outside; see `check_host`, `check_site` and `session`.
        """
        self.check_host(headers)
        if same_site:
            self.check_site(headers)
        return self.session(scope, headers, query_of(scope).get("token") if token_in_query else None)

    def session(self, scope: Scope, headers: Mapping[bytes, bytes], token: str | None = None) -> Session:
        """The session of whoever sent these headers.

        Args:
            scope: of the request; knows where it comes from.
            headers: the request's.
            token: one that came in another place than in the headers.

        Raises:
            Unauthorized: a token is needed and there is none that is ours.
            NotFound: it speaks for a worker that is not there.
        """
        access = self._context.access
        client = scope.get("client")
        session = Session(peer=str(client[0]) if client else "", door=DOOR)
        session.identify(
            access.anonymous
            or access.identify(_bearer(headers) if token is None else token, session.peer, self._clock().steady)
        )
        worker = headers.get(b"flashq-worker")
        if worker is not None:
            speak_for(self._context, session, worker.decode("latin-1"))
        return session

    def permit(self, session: Session, kind: type) -> None:
        """Let this session have what is no command, but tells as much of all queues as this one: see `execute.permit`.

        Raises:
            Unauthorized, Forbidden: it may not.
        """
        permit(self._context, session, kind, self._clock())

    def check_host(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse what asks for another host.

        Raises:
            Forbidden: it does.
        """
        if ANY in self._hosts:
            return
        host = headers.get(b"host", b"")
        if host and _name_of(host) not in self._hosts:
            shown = host[:100].decode("latin-1")
            raise Forbidden(f"Forbidden: this server is not {shown!r}; ALLOWED_HOSTS names what it may be called")

    def check_site(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse what a browser was talked into by another site's page.

        Raises:
            Forbidden: it was.
        """
        origin = headers.get(b"origin")
        if origin is None:
            foreign = headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin")
        else:
            name = origin.decode("latin-1")
            if ANY in self._origins or name in self._origins:
                return
            foreign = name.partition("://")[2].encode("latin-1") != headers.get(b"host")
        if foreign:
            raise Forbidden("Forbidden: a page of another site asked for this; CORS_ALLOW_ORIGIN names those that may")


@lru_cache(maxsize=64)
def _name_of(host: bytes) -> str:
    """A host without its port; remembered, as all requests of a client ask for the same."""
    try:
        return split_url(f"//{host.decode('latin-1')}").hostname or ""
    except ValueError:  # brackets around what is no address, or beside them a name
        return ""


def _bearer(headers: Mapping[bytes, bytes]) -> str:
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() != b"bearer":
        raise Unauthorized("Authentication required")
    return token.strip().decode("latin-1")


def local_names(host: str) -> tuple[str, ...]:
    """What a server may be called that listens on this loopback address; ``*`` when it is none."""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return ("localhost", "127.0.0.1", "::1", host) if local else (ANY,)


def query_of(scope: Scope) -> dict[str, str]:
    """The members in the query; the last of a name counts.

    Raises:
        BadRequest: there are too many.
    """
    text: bytes = scope["query_string"]
    if not text:
        return {}
    try:
        return dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_QUERY_MEMBERS))
    except ValueError:
        raise BadRequest(f"Invalid: too many members in the query (max {MAX_QUERY_MEMBERS})") from None
