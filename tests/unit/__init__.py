"""Unit tests: the tree of src/flashq again, each file answering for one source file."""
