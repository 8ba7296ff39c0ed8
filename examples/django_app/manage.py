"""A Django project whose tasks run on FlashQ: a guest book that thanks.

::

    flashq serve                                  # in one terminal
    python manage.py migrate                      # in another, in this folder
    python manage.py flashq_worker
    python manage.py sign Ada                     # in a third
    python manage.py sign Bob --change-my-mind    # rolled back: nothing is written, nobody is thanked
    python manage.py guests
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    execute_from_command_line(sys.argv)
