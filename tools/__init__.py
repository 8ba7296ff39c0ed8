"""Programs of the development: run by themselves or by the Makefile, and some by the tests."""
