"""Texts that code hands over to be kept with a job: why it failed, how far it is.

Any `str` may come: text with half characters (lone surrogates), which nothing can write as UTF-8, and text without an
end. Neither may keep an outcome from reaching the server, so both are mended here, before anybody sends them.
"""


def sendable(text: object, most_bytes: int) -> str:
    """What can be sent of a text.

    Args:
        text: any object; what is no text is taken as its `str`.
        most_bytes: where it is cut, in bytes of UTF-8.
    """
    # A character has at least one byte: cutting first keeps a text without an end from being encoded as a whole.
    return str(text)[:most_bytes].encode(errors="replace")[:most_bytes].decode(errors="ignore")
