"""FlashQ in a Django project: the backend for Django's tasks, and a worker as a management command.

::

    INSTALLED_APPS = [..., "flashq.contrib.django"]
    TASKS = {"default": {"BACKEND": "flashq.contrib.django.FlashQBackend"}}

Works with the tasks of Django 6 and with the package ``django-tasks``, which brings the same to Django 5.2.
"""

from flashq.contrib.django.backend import FlashQBackend
from flashq.contrib.django.commit import delay_on_commit

__all__ = ["FlashQBackend", "delay_on_commit"]
