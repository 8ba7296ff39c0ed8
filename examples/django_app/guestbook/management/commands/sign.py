"""Signs the guest book."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from guestbook.models import Guest
from guestbook.tasks import thank


class Command(BaseCommand):
    """``manage.py sign NAME``."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Who, and whether they mean it."""
        parser.add_argument("name")
        parser.add_argument("--change-my-mind", action="store_true", help="Roll it all back.")

    def handle(self, *_: Any, name: str, change_my_mind: bool, **__: Any) -> None:
        """Write the guest and the job, or neither."""
        with transaction.atomic():
            guest = Guest.objects.create(name=name)
            result = thank.enqueue(guest.id)
            transaction.set_rollback(change_my_mind)
        self.stdout.write(result.id)
