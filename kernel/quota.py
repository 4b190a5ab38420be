"""Quotas: every byte of memory that a process can cause to exist is charged to an account.

Accounts form a tree.  Opening one takes its whole limit from its parent at once, so that a
promise once made is kept; closing one gives back what is free now, and the rest as the objects
charged to it go.  Invariant: ``used`` is the cost of the living objects charged to the account
plus the limits of the accounts opened from it, and never exceeds ``limit``.
"""

from __future__ import annotations


class Account:
    """A quota in bytes and what is used of it."""

    def __init__(self, limit: int, parent: Account | None = None) -> None:
        self.limit, self.used = limit, 0
        self.parent, self.closed = parent, False

    @property
    def free(self) -> int:
        """Bytes that can still be charged."""
        return self.limit - self.used

    def charge(self, size: int) -> bool:
        """Charge ``size`` bytes; False, and nothing charged, if they are not there."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def refund(self, size: int) -> None:
        """Give ``size`` charged bytes back; from a closed account they go on to the parent."""
        account: Account | None = self
        while account is not None:
            account.used -= size
            account = account.parent if account.closed else None

    def open(self, limit: int) -> Account | None:
        """Return an account of ``limit`` bytes taken from this one, or None."""
        return Account(limit, self) if self.charge(limit) else None

    def close(self) -> None:
        """Return what is free to the parent, and later refunds as they come."""
        self.closed = True
        if self.parent is not None:
            self.parent.refund(self.limit - self.used)
