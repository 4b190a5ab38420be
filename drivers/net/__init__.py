"""Ethernet: links that carry frames through packet streams, and the driver of the outer one."""
