"""Guests of our own, assembled from text: no downloads, no compiler.  See ``README.md``."""
