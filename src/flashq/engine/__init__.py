"""The pure core: no I/O, no clock, no chance. See `flashq.engine.engine` for the whole and its parts."""
