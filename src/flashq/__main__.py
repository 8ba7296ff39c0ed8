"""``python -m flashq`` is ``flashq``."""

from flashq.cli.main import main

if __name__ == "__main__":
    main()
