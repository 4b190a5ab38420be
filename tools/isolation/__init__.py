"""What the kernel is handed at boot for the isolation of processes on the host machine.

The kernel enforces; what it enforces is prepared here, before it starts: the program that a process
executes, its namespaces, Landlock's rules, the system-call filters (``filters``), and the files
behind devices, opened and locked (``devices``).  All of it is trusted, but none of it has to be in
the kernel's process.  ``layers`` finds out what a host lacks.
"""

from tools.isolation.prepare import LackingLayers, prepared

__all__ = ["LackingLayers", "prepared"]
