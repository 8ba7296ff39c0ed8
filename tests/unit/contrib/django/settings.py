"""The smallest project: one application with tasks, and a database for transactions."""

import django

IMMEDIATE = f"django{'.' if django.VERSION >= (6,) else '_'}tasks.backends.immediate.ImmediateBackend"

SECRET_KEY = "tests"
USE_TZ = True
INSTALLED_APPS = ["flashq.contrib.django", "tests.unit.contrib.django.shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
TASKS = {
    "default": {
        "BACKEND": "flashq.contrib.django.FlashQBackend",
        "QUEUES": ["default", "mails"],
        "OPTIONS": {"task": {"max_attempts": 2, "backoff": 0}},
    },
    "safe": {"BACKEND": "flashq.contrib.django.FlashQBackend", "ENQUEUE_ON_COMMIT": True},
    "here": {"BACKEND": IMMEDIATE},
}
