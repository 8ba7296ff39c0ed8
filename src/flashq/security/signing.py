"""What proves to a receiver that a webhook's call comes from this server and is whole."""

import hmac


def sign(secret: str, body: bytes) -> str:
    """The HMAC-SHA256 of a body, in lower-case hex.

    Args:
        secret: known to the receiver, too; used as its UTF-8 bytes.
        body: exactly the bytes that are sent.
    """
    return hmac.digest(secret.encode(), body, "sha256").hex()
