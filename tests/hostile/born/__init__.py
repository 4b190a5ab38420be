"""A program that is hostile from its birth on: only what the kernel set up itself holds it back."""
