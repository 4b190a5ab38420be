"""The host's processor as an engine, through Linux's KVM.

`api.py` is the kernel's interface (requests and structures), `engine.py` the engine.  There is no
interrupt controller in the kernel: the board's own is used, as with the software engine.
"""
