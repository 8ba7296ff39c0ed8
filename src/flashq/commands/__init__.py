"""One layer of commands behind every door: check, call the engine once, answer."""
