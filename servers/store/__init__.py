"""The store: a disk in an image's format, between a block driver and who uses the disk."""
