"""What a process really runs, in layers, and how much that is.

``loaded`` says which modules and libraries a program has when its ``main`` begins, which is all
that it can ever load: opening files is forbidden from then on.  ``lines`` counts source, ``elf``
machine code, ``surface`` the host's system calls that are left; ``measure`` puts them together.
"""
