"""The command line: ``flashq <verb>``."""
