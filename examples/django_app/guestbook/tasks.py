"""What is done later."""

from guestbook.models import Guest

try:
    from django.tasks import task
except ImportError:  # before Django 6
    from django_tasks import task


@task
def thank(id: int) -> str:
    """Thank a guest."""
    guest = Guest.objects.get(id=id)
    guest.thanks = f"Thank you, {guest.name}!"
    guest.save()
    return guest.thanks


@task(priority=10)
async def count() -> int:
    """How many have been here."""
    return await Guest.objects.acount()
