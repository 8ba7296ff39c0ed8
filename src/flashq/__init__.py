"""FlashQ: a job queue server that needs nothing else."""

__version__ = "0.1.0"
