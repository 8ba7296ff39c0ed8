"""``flashq token ...``: who may use a server. Works on the token file, beside the server; no server need run.

A running server notices a change by itself. The file is that of the environment in which the server was started:
``TOKENS_FILE``, or ``tokens.json`` in ``DATA_DIR``; ``--file`` names another.
"""

from pathlib import Path
from typing import Any, Final

import click
from msgspec.structs import asdict

from flashq.cli.reach import LocalNoun, Misconfigured, Nothing, Wishes
from flashq.cli.settings import configured
from flashq.cli.show import Column, moment
from flashq.security.identity import ROLES
from flashq.security.tokenfile import TokenFileError, TokenRow, change, load, make_row, make_token
from flashq.server.clock import now

_COLUMNS: Final[tuple[Column, ...]] = (
    ("name", lambda one: one["name"]),
    ("role", lambda one: one["role"]),
    ("queues", lambda one: ", ".join(one["queues"]) if one["queues"] else "all"),
    ("created", lambda one: moment(one["created_at"])),
)

_file = click.option(
    "--file", "path", type=click.Path(path_type=Path, dir_okay=False), help="The token file, if it is another one."
)


@click.group(cls=LocalNoun)
def token() -> None:
    r"""Say who may use a server, and what for.

    \b
    Example:
      flashq token create mailer --role worker --queue 'emails*'
    """


@token.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="Each may do what those before it may.")
@click.option("--queue", "queues", multiple=True, help="Only for queues of this pattern; may be given again.")
@_file
@click.pass_obj
def create(wishes: Wishes, /, name: str, role: str, queues: tuple[str, ...], path: Path | None) -> None:
    r"""Make a token and show it, once: what is kept cannot be turned back into it.

    NAME is for people: it stands in the log, and revokes the token. Patterns are a shell's: quote them.

    \b
    Examples:
      flashq token create grafana --role viewer
      flashq token create mailer --role worker --queue 'emails*' --queue newsletters
    """
    made = make_token()
    try:
        row = make_row(name, role, queues or None, made, now().wall)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    where = _where(path)

    def add(rows: tuple[TokenRow, ...]) -> tuple[TokenRow, ...]:
        if any(one.name == name for one in rows):
            raise click.UsageError(f"there is a token of the name {name} already: revoke it first")
        return (*rows, row)

    try:
        change(where, add)
    except TokenFileError as error:
        raise Misconfigured(str(error)) from None
    wishes.show.done(made, token=made, **_shown(row), file=str(where))


@token.command("list")
@_file
@click.pass_obj
def list_(wishes: Wishes, /, path: Path | None) -> None:
    r"""All tokens of the file, by name. What they are worth, not what they are.

    \b
    Example:
      flashq token list
    """
    where = _where(path)
    try:
        rows = load(where) if where.exists() else ()
    except TokenFileError as error:
        raise Misconfigured(str(error)) from None
    wishes.show.listing([_shown(row) for row in sorted(rows, key=lambda row: row.name)], _COLUMNS, "no tokens")


@token.command("revoke")
@click.argument("name")
@_file
@click.pass_obj
def revoke(wishes: Wishes, /, name: str, path: Path | None) -> None:
    r"""Withdraw a token. A running server ends its connections within five seconds.

    \b
    Example:
      flashq token revoke mailer
    """
    where = _where(path)

    def remove(rows: tuple[TokenRow, ...]) -> tuple[TokenRow, ...]:
        left = tuple(row for row in rows if row.name != name)
        if len(left) == len(rows):
            raise Nothing(f"there is no token of the name {name}")
        return left

    try:
        if not where.exists():
            remove(())
        change(where, remove)
    except TokenFileError as error:
        raise Misconfigured(str(error)) from None
    wishes.show.done(f"{name} revoked", name=name, file=str(where))


def _where(path: Path | None) -> Path:
    return configured().tokens_path if path is None else path


def _shown(row: TokenRow) -> dict[str, Any]:
    members = asdict(row)
    del members["sha256"]
    return members
