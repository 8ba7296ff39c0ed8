"""Lists the guests."""

from typing import Any

from django.core.management.base import BaseCommand

from guestbook.models import Guest


class Command(BaseCommand):
    """``manage.py guests``."""

    def handle(self, *_: Any, **__: Any) -> None:
        """Each with the thanks that they got."""
        for guest in Guest.objects.order_by("id"):
            self.stdout.write(f"{guest.name}: {guest.thanks or 'not thanked yet'}")
