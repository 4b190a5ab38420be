"""A server whose interface has every type in it."""
