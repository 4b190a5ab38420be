"""The load: that it runs clean, and that it would say so if it did not."""
