"""Sets Django up with the project's settings; to be imported first."""

import os

import django

SETTINGS = "tests.unit.contrib.django.settings"

os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
django.setup()
del os.environ["DJANGO_SETTINGS_MODULE"]  # other tests start projects of their own
