"""One suite that every backend, door or client of a kind has to pass."""
