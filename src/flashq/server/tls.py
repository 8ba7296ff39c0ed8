"""The certificate of the doors, which may be renewed while the server runs.

Doors keep the one context that they were opened with. Each handshake asks it for the certificate of that moment, so a
renewed one needs no door to be opened anew, and a connection that is there never notices.
"""

import ssl
from pathlib import Path
from typing import Any


class TlsError(ValueError):
    """The certificate cannot be used; the sentence names the files and says why."""


class Tls:
    """What the doors show.

    Attributes:
        context: for every listener; it stays the same.
        paths: of the certificate and its key.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        """Read both files.

        Raises:
            TlsError: they cannot be used.
        """
        self.paths = (cert, key)
        self._current = _read(cert, key)
        self.context = _read(cert, key)  # never used but to find out which one is
        self.context.sni_callback = self._choose

    def load(self) -> None:
        """Read the files again: from now on new connections are shown what stands in them.

        Raises:
            TlsError: they cannot be used; the former ones stay.
        """
        self._current = _read(*self.paths)

    def _choose(self, connection: Any, _: str | None, __: ssl.SSLContext) -> None:  # noqa: ANN401 - SSLObject or SSLSocket
        connection.context = self._current


def _read(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (cert, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise TlsError(f"{path}: {error.strerror}") from None
    try:
        context.load_cert_chain(cert, key, password=_refuse)  # without it a terminal would be asked
    except (ssl.SSLError, ValueError, OSError) as error:
        why = getattr(error, "reason", None) or error
        raise TlsError(f"{cert} and {key} are no certificate and its key: {why}") from None
    return context


def _refuse() -> str:
    raise ValueError("the key is encrypted")
