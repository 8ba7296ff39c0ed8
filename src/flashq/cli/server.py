"""``flashq server ...`` and ``flashq backup``: how a running server was set up, its end, a copy of what it keeps."""

import click

from flashq.cli.reach import Noun, Verb, Wishes
from flashq.cli.show import duration, members


@click.group(cls=Noun)
def server() -> None:
    r"""Ask a running server about itself, or to stop.

    \b
    Example:
      flashq server settings
    """


@server.command("settings")
@click.pass_obj
def settings(wishes: Wishes) -> None:
    r"""How the server was set up; no secrets.

    \b
    Example:
      flashq server settings --json | jq .durability
    """
    with wishes.client() as q:
        found = q.settings()
    wishes.show.facts(
        found,
        {
            "version": found.version,
            "lines": f"{found.host}:{found.port}",
            "http": found.http_port or "off",
            "unix socket": found.unix_socket or "off",
            "storage": found.storage,
            "durability": found.durability,
            "asks for tokens": found.auth,
            "tls": found.tls,
            "open to everybody from elsewhere": found.exposed,
            "up": duration(found.uptime_ms // 1_000 * 1_000),
        },
    )


@click.command(cls=Verb)
@click.pass_obj
def backup(wishes: Wishes) -> None:
    r"""Copy the server's database into its folder for backups, while it goes on serving. Waits until that is done.

    \b
    Examples:
      flashq backup
      flashq backup --json | jq -r .path
    """
    with wishes.client() as q:
        made = q.backup()
    wishes.show.done(f"{made.path}: {made.bytes} bytes, made in {duration(made.took_ms)}", **members(made))


@server.command("shutdown")
@click.pass_obj
def shutdown(wishes: Wishes) -> None:
    r"""Stop the server in good order: what waits is answered, what happened is committed. Exit code 0.

    \b
    Example:
      flashq server shutdown
    """
    with wishes.client() as q:
        q.shutdown()
    wishes.show.done("the server is stopping")


@server.command("restart")
@click.pass_obj
def restart(wishes: Wishes) -> None:
    r"""As shutdown, with exit code 100: whoever watches over the server should start it again.

    \b
    Example:
      flashq server restart
    """
    with wishes.client() as q:
        q.restart()
    wishes.show.done("the server is stopping, to be started again")
