"""Whole systems of real processes, as a person runs them."""
