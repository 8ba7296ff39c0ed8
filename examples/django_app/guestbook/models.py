"""Who has been here."""

from django.db import models


class Guest(models.Model):
    """One who has signed."""

    name = models.CharField(max_length=100)
    thanks = models.CharField(max_length=200, blank=True)
