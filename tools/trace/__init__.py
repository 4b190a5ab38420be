"""What the kernel did, for people and for trace viewers."""
