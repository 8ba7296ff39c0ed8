"""Commands of the guest book."""
