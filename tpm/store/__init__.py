"""Where a TPM's state is kept: a journal in a file or on a device, encrypted and authenticated.

``journal.py`` is the format, the same everywhere; ``files.py`` opens files safely and holds them
against a second instance; ``keys.py`` says where keys come from.
"""

from tpm.store.journal import Journal, Medium, StoreDamaged, StoreError, StoreFull, WrongKey

__all__ = ["Journal", "Medium", "StoreDamaged", "StoreError", "StoreFull", "WrongKey"]
