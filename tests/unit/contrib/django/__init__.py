"""A Django project on an in-process server."""
