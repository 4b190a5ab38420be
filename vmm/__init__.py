"""The virtual machine monitor: one user-mode process for each virtual machine.

It holds that guest's memory, its CPU engine and its board, and nobody else's anything.  What a
device needs from outside (a console, a disk's sectors, entropy, the time) is handed in as a
backend (``vmm/backends.py``); the code here knows no IPC, opens no files and starts no processes,
so the same board runs in a sandboxed process, on the simulated machine and in a test.

It may import the standard library, the Unicorn, Keystone and Capstone engines, ``msgspec``, and
from the rest of Cloister only ``servers.runtime`` and the interfaces of drivers and TPMs.
"""
