"""Makes calls."""
