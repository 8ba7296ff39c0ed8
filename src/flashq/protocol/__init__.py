"""What goes over the wire: requests, replies, framing, limits. Pure, and shared by server and client."""
