"""Everything privileged, and nothing else.

The kernel is a pure state machine over address spaces, threads and IPC: it does no input or
output, reads no clock but the one its machine hands in, and never decodes a payload.
``kernel/machine/`` carries its effects out, on real host processes or in simulation.
Policy, naming, drivers, file formats, retries and logging do not belong here: they run in
user mode, in ``servers/`` and ``drivers/``.  This package imports nothing else of Cloister.
"""
