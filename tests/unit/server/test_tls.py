"""Unit tests of `flashq.server.tls`. Handshakes happen in memory."""

import ssl
import subprocess
from pathlib import Path

import pytest
from tests.fakes import certificate
from tests.fakes.certificate import Certificate

from flashq.server.tls import Tls, TlsError


@pytest.fixture
def made(tmp_path: Path) -> Certificate:
    """A certificate and its key."""
    return certificate.make(tmp_path)


def shown(server: ssl.SSLContext, believed: Certificate, name: str | None = "localhost") -> str | None:
    """Shake hands. Returns the version spoken; refused if the server shows a certificate that is not believed."""
    client = ssl.create_default_context(cafile=str(believed.cert))
    if name is None:
        client.check_hostname = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    left = list(ends)
    while left:
        for end in list(left):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            left.remove(end)
    return ends[0].version()


@pytest.mark.parametrize("name", ["localhost", None])
def test_a_renewed_certificate_is_shown_by_the_same_context(made: Certificate, name: str | None) -> None:
    """The old one before, the new one after, whether the client says whom it wants or not; also of another kind."""
    tls = Tls(made.cert, made.key)
    context = tls.context
    old = Certificate(made.cert.rename(made.cert.with_name("old.pem")), made.key)
    other = certificate.make(made.cert.parent / "other")
    assert shown(context, old, name) == "TLSv1.3"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=new", "-newkey", "rsa:2048"),
            *("-addext", "subjectAltName=DNS:localhost", "-out", str(made.cert), "-keyout", str(made.key)),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    tls.load()
    assert tls.context is context
    assert shown(context, made, name) == "TLSv1.3"
    for wrong in (old, other):
        with pytest.raises(ssl.SSLCertVerificationError):
            shown(context, wrong, name)


def test_old_versions_are_not_spoken(made: Certificate) -> None:
    """What is older than TLS 1.2 is refused, on the first certificate and on each that follows."""
    tls = Tls(made.cert, made.key)
    tls.load()
    assert tls.context.minimum_version == tls._current.minimum_version == ssl.TLSVersion.TLSv1_2


def test_files_that_cannot_be_used(made: Certificate, tmp_path: Path) -> None:
    """Missing, mixed up, of another certificate, encrypted: one sentence that names them; nobody is asked anything."""
    other = certificate.make(tmp_path / "other")
    encrypted = tmp_path / "encrypted.pem"
    subprocess.run(
        ["openssl", "ec", "-in", str(made.key), "-aes128", "-passout", "pass:secret", "-out", str(encrypted)],
        check=True,
        capture_output=True,
        timeout=30,
    )
    for cert, key in ((made.cert, other.key), (made.key, made.cert), (made.cert, encrypted)):
        with pytest.raises(TlsError, match=rf"^{cert} and {key} are no certificate and its key: "):
            Tls(cert, key)
    with pytest.raises(TlsError, match=r"missing\.pem: No such file or directory$"):
        Tls(tmp_path / "missing.pem", made.key)


def test_what_was_read_before_stays(made: Certificate) -> None:
    """A renewal that went wrong changes nothing."""
    tls = Tls(made.cert, made.key)
    believed = Certificate(made.cert.with_name("believed.pem"), made.key)
    believed.cert.write_bytes(made.cert.read_bytes())
    made.cert.write_text("half")
    with pytest.raises(TlsError):
        tls.load()
    assert shown(tls.context, believed) == "TLSv1.3"
