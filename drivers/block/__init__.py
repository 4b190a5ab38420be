"""The block driver: one disk, shared out in sessions over packet streams."""
