"""The host machine: every address space is a process of the host in a sandbox of its own.

All of this runs privileged, so it stays small: ``machine`` moves effects and events, ``process``
starts and ends protection domains inside what ``sandbox`` and ``seccomp`` build, ``memory`` and
``devices`` hand out what is behind frames and devices, and ``linux`` alone knows system-call
numbers and structures.  Nothing that parses a user's data belongs here.
"""
