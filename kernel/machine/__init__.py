"""The machines under the kernel: what carries its effects out.

``host`` makes every address space a sandboxed process of the host's operating system;
``sim`` runs all of user mode in one process under a seeded scheduler and a virtual clock.
"""
