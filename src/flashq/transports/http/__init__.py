"""The HTTP door: REST, and every command as it is over lines, on uvicorn in the server's own event loop."""
