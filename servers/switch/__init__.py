"""The network switch: which of the system's processes may send Ethernet frames to which others."""
