"""What is left after a server was killed, or its disk failed."""
