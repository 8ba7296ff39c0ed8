"""The part of curl that the documentation uses, for machines that have none: how its examples are played there.

Knows ``-s``, ``-X METHOD``, ``-H 'NAME: VALUE'``, ``-d TEXT``, ``--data-binary TEXT`` (``@FILE`` reads one) and a URL.
"""

import argparse
import http.client
import sys
from pathlib import Path
from urllib.parse import urlsplit


def main(arguments: list[str]) -> None:
    """Ask, and print the body of the answer, whatever its status."""
    parser = argparse.ArgumentParser("curl")
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", "--data-binary", dest="data")
    parser.add_argument("url")
    given = parser.parse_args(arguments)
    body = given.data
    if body is not None:
        body = Path(body[1:]).read_bytes() if body.startswith("@") else body.encode()
    url = urlsplit(given.url if "://" in given.url else f"http://{given.url}")
    connection = http.client.HTTPConnection(url.netloc)
    path = url.path + (f"?{url.query}" if url.query else "")
    headers = dict(header.split(": ", 1) for header in given.headers)
    connection.request(given.method or ("GET" if body is None else "POST"), path, body, headers)
    sys.stdout.buffer.write(connection.getresponse().read())
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1:])
