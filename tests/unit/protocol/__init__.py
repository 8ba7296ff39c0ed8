"""What goes over the wire, file by file."""
