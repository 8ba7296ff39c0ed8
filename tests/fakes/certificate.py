"""A certificate for this machine that nobody but a test believes."""

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """Where its two files are.

    Attributes:
        cert: the certificate in PEM; it has signed itself, so it is also what to believe.
        key: its private key.
    """

    cert: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """What a server shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


def make(folder: Path, *names: str) -> Certificate:
    """A new certificate, valid for two days.

    Args:
        folder: where its files go.
        names: what it is for, as ``DNS:localhost`` or ``IP:127.0.0.1``; none: both of these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    subjects = ",".join(names or ("DNS:localhost", "IP:127.0.0.1"))
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=flashq test"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", f"subjectAltName={subjects}", "-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
            *("-out", str(made.cert), "-keyout", str(made.key)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return made
