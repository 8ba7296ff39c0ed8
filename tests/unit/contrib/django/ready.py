"""Sets Django up with the project's settings; to be imported first."""

import os

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.unit.contrib.django.settings"
django.setup()
