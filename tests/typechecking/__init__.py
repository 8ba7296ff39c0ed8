"""What the type checkers say of programs that use tasks."""
