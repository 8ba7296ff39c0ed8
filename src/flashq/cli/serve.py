"""``flashq serve``: the server. The only file of the command line that knows the server."""

from typing import Any, Final

import click

from flashq import __version__
from flashq.cli.reach import Local, Wishes
from flashq.cli.settings import configured
from flashq.config import VARIABLES, Config
from flashq.server.app import Server
from flashq.server.lifecycle import run

_EPILOG: Final = (
    "\b\nEnvironment (an option goes before its variable):\n"
    + "\n".join(f"  {name:22} {text}" for name, text in VARIABLES.items())
    + "\n\n\b\nExit codes:\n"
    + "\n".join(
        (
            "    0  stopped by SIGTERM or Ctrl-C; everything that was confirmed is kept",
            "    1  could not start: a setting, an address or the database; nothing was changed",
            "   70  an invariant did not hold; the data on disk is sound up to what was confirmed",
            "  100  asked to start again (RESTART): whoever watches over it should",
            "   74  the disk or database failed; restart it when that is repaired",
        )
    )
)


@click.command(cls=Local, epilog=_EPILOG)
@click.option("--host", help="Listen address; 127.0.0.1 unless asked otherwise.")
@click.option("--port", type=int, help="TCP port, 6789 unless asked otherwise; 0 takes any free one.")
@click.option("--http-port", type=int, help="HTTP port, 6790 unless asked otherwise; 0 takes any free one.")
@click.option("--http/--no-http", default=None, help="Whether to listen for HTTP; yes unless asked otherwise.")
@click.option("--unix-socket", help="Listen on this path as well.")
@click.option("--data-dir", help="Folder for the database; flashq-data unless asked otherwise.")
@click.option(
    "--database-url",
    help="sqlite:///PATH, postgres://USER@HOST/DATABASE or memory://; else flashq.db in that folder.",
)
@click.option("--durability", help="full (the default) or relaxed.")
@click.option("--quiet", is_flag=True, help="Do not say when the server is ready.")
@click.pass_obj
def serve(wishes: Wishes, /, *, quiet: bool, **given: Any) -> int:  # noqa: ANN401  # one word of the environment each
    r"""Run the server in the foreground until SIGTERM or Ctrl-C.

    \b
    Examples:
      flashq serve --port 6789 --data-dir ./flashq-data
      flashq serve --database-url memory://     # keeps nothing
    """
    config = configured(**given)
    return run(config, lambda server: None if quiet else _say_ready(wishes, config, server))


def _say_ready(wishes: Wishes, config: Config, server: Server) -> None:
    host, port = server.address
    memory = config.storage_url == "memory://"
    kept = "none, nothing survives a stop" if memory else f"{config.durability}, kept in {server.storage_name}"
    web = f", http on http{'s' if server.tls else ''}://{_in_url(host)}:{server.http_port}" if server.http_port else ""
    wishes.show.done(
        f"flashq {__version__} ready on {host}:{port}{web}, durability {kept}",
        version=__version__,
        host=host,
        port=port,
        http_port=server.http_port,
        tls=server.tls is not None,
        unix_socket=config.unix_socket or None,
        durability="none" if memory else config.durability,
        storage=server.storage_name,
    )


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
