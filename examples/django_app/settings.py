"""The project's settings. ``FLASHQ_URL`` says where the server is, else it is on this machine."""

from pathlib import Path

SECRET_KEY = "only an example"
DEBUG = True
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = ["flashq.contrib.django", "guestbook"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).parent / "guests.sqlite3",
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}

TASKS = {
    "default": {
        "BACKEND": "flashq.contrib.django.FlashQBackend",
        "ENQUEUE_ON_COMMIT": True,
        "OPTIONS": {"task": {"max_attempts": 5, "timeout": 60_000}},
    }
}
