"""The search for what is wrong with the kernel's state machine.

``model`` is a kernel, a machine that may be late, and actors with scripts; ``configurations`` are
the small worlds that are explored, and ``explore`` goes through all their states; ``invariants``
are the laws; ``mutants`` are kernels that break them, so that it shows that the search would find
it. ``harness`` and ``walk`` take random steps through larger worlds.
"""
