"""Boot protocols: how a kernel gets into memory and what state the CPU starts it in.

Each protocol is a function from image bytes and guest memory to ``Registers``.  Images are files
that users hand in: what is wrong with one is said in a sentence, by ``BootError``.
"""

from __future__ import annotations


class BootError(Exception):
    """An image cannot be started.  The text is one sentence that says what is wrong with it."""
