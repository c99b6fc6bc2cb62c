"""What people are likely to do wrong, and what the command says of it: `python -m tests.mistakes`."""
