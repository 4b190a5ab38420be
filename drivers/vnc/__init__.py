"""The VNC driver: a screen, keyboard and pointer at the other end of a network connection."""
