"""Sets Django up with the project's settings; to be imported first."""

import os
import time

import django

SETTINGS = "tests.unit.contrib.django.settings"

os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
ZONE = os.environ.get("TZ")


def leave_the_time_zone() -> None:
    """Django sets that of the process; other tests do not live in the one of this project."""
    if ZONE is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = ZONE
    time.tzset()


django.setup()
del os.environ["DJANGO_SETTINGS_MODULE"]  # other tests start projects of their own
leave_the_time_zone()
