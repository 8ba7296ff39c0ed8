"""``flashq webhook ...``: URLs that the server calls at events."""

from typing import IO, Final

import click

from flashq.cli.reach import Noun, Wishes
from flashq.cli.show import Column, moment

_COLUMNS: Final[tuple[Column, ...]] = (
    ("id", lambda one: one.id),
    ("url", lambda one: one.url),
    ("events", lambda one: " ".join(one.events)),
    ("queue", lambda one: one.queue or "*"),
    ("signed", lambda one: "yes" if one.has_secret else "no"),
    ("since", lambda one: moment(one.created_at)),
    ("pending", lambda one: one.pending),
    ("delivered", lambda one: one.delivered),
    ("failed", lambda one: one.failed),
    ("dropped", lambda one: one.dropped),
    ("last error", lambda one: one.last_error or ""),
)


@click.group(cls=Noun)
def webhook() -> None:
    r"""Have the server call a URL when something happens.

    \b
    Example:
      flashq webhook add https://example.org/hook --event failed
    """


@webhook.command("add")
@click.argument("receiver", metavar="URL")
@click.option("--event", "events", multiple=True, help="Type of event, as in 'flashq events'; all unless said.")
@click.option("--queue", help="Only of this queue; of all unless said.")
@click.option("--secret-file", type=click.File(), help="Holds the secret that signs the calls; - reads it from stdin.")
@click.pass_obj
def add(
    wishes: Wishes, /, receiver: str, events: tuple[str, ...], queue: str | None, secret_file: IO[str] | None
) -> None:
    r"""Call URL at each event, with what happened as JSON.

    The secret comes from a file, because what stands on a command line can be seen by others.

    \b
    Examples:
      flashq webhook add https://example.org/hook --event failed --event timeout
      flashq webhook add https://example.org/hook --queue payments --secret-file hook.secret
    """
    secret = secret_file.read().strip() if secret_file is not None else None
    with wishes.client() as q:
        id = q.add_webhook(receiver, events or ("*",), queue=queue, secret=secret)
    wishes.show.done(f"{id} registered", id=id)


@webhook.command("list")
@click.pass_obj
def list_(wishes: Wishes) -> None:
    r"""All webhooks, and how their deliveries went since the server's start.

    \b
    Example:
      flashq webhook list
    """
    with wishes.client() as q:
        found = q.webhooks()
    wishes.show.listing(found, _COLUMNS, "no webhooks")


@webhook.command("delete")
@click.argument("id")
@click.pass_obj
def delete(wishes: Wishes, id: str) -> None:
    r"""Remove a webhook, and what is still to be delivered to it.

    \b
    Example:
      flashq webhook delete 4be2c5d09a7f1e36
    """
    with wishes.client() as q:
        q.delete_webhook(id)
    wishes.show.done(f"{id} removed")
