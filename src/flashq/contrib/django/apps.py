"""The application for ``INSTALLED_APPS``: it brings the management command, and has no models."""

from django.apps import AppConfig


class FlashQConfig(AppConfig):
    """What Django knows of it."""

    name = "flashq.contrib.django"
    label = "flashq"
    verbose_name = "FlashQ"
