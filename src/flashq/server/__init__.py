"""The shell that turns the crank: composition, the turn, the ticker, start and stop."""
