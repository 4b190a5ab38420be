"""Disks that nobody else can read or change: encrypted and authenticated before they leave the VMM.

Whoever keeps such a disk, a driver or a store, sees blocks of noise, and what it returns is
believed only if it is what was written there last.  What it can still do is to return nothing.

=================  ============================================================================
``geometry.py``    where the blocks of data are on the disk, and those of the hash tree
``blocks.py``      the cryptography of one block
``tree.py``        the hash tree, and what of it is kept in the VMM's own trusted store
``disk.py``        the disk as the board's block backend
=================  ============================================================================
"""
