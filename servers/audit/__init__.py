"""The audit server: an append-only, hash-chained log."""
