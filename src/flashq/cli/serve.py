"""``flashq serve``: the server. The only file of the command line that knows the server."""

import sys
from typing import Any

import click

from flashq import __version__
from flashq.config import VARIABLES, ConfigError, from_environment
from flashq.server.app import Server
from flashq.server.lifecycle import run

_EPILOG = "\b\nEnvironment:\n" + "\n".join(f"  {name:22} {text}" for name, text in VARIABLES.items())


@click.command(epilog=_EPILOG)
@click.option("--host", help="Listen address; 127.0.0.1 unless asked otherwise.")
@click.option("--port", type=int, help="TCP port; 0 takes any free one.")
@click.option("--unix-socket", help="Listen on this path as well.")
@click.option("--data-dir", help="Folder for the database.")
@click.option("--database-url", help="sqlite:///PATH or memory://.")
@click.option("--durability", help="full (the default) or relaxed.")
@click.option("--quiet", is_flag=True, help="No banner.")
def serve(*, quiet: bool, **given: Any) -> None:  # noqa: ANN401  # one word of the environment each
    r"""Run the server in the foreground until SIGTERM or Ctrl-C.

    \b
    Example:
      flashq serve --port 6789 --data-dir ./flashq-data
    """
    try:
        config = from_environment(**given)
    except ConfigError as error:
        click.echo(f"flashq: {error}", err=True)
        sys.exit(1)

    def ready(server: Server) -> None:
        if quiet:
            return
        host, port = server.address
        memory = config.storage_url == "memory://"
        mode = "none, nothing survives a stop" if memory else f"{config.durability}, kept in {config.storage_url}"
        click.echo(f"flashq {__version__} ready on {host}:{port}, durability {mode}")
        sys.stdout.flush()

    sys.exit(run(config, ready))

