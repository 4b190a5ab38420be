"""A debugger's stub: GDB's remote serial protocol, for the guest's processor.

`session.py` ties a debugger to a board, `stub.py` answers packets, `packets.py` frames them, and
`target.py` says what the processor's registers are.  Octets come and go through the VMM's control
interface: the sandbox has no socket, but the tool that the person runs has one.
"""
