"""Mandatory access control: which labels may talk.  Mechanism only.

A label is an integer that the kernel compares and never interprets.  The policy server fills the
matrix; equal labels always talk.  It is consulted wherever a capability crosses address spaces and
wherever a message is delivered.  Two holders of one object conflict if one could put something
into it that the other could take out, and their labels may not talk.
"""

from kernel.abi import Right

PRODUCE, CONSUME = 1, 2
_PRODUCING = int(Right.WRITE | Right.SEND | Right.CONTROL)
_CONSUMING = int(Right.READ | Right.RECEIVE | Right.CONTROL)


def flow(rights: int) -> int:
    """The directions in which rights let information go: PRODUCE and CONSUME, or'ed."""
    return (PRODUCE if rights & _PRODUCING else 0) | (CONSUME if rights & _CONSUMING else 0)


def meet(first: int, second: int) -> bool:
    """Whether something put in with the one flow can be taken out with the other."""
    return bool((first & PRODUCE and second & CONSUME) or (first & CONSUME and second & PRODUCE))


class Matrix:
    """The pairs of labels that may talk, in both directions."""

    def __init__(self) -> None:
        self._pairs: set[tuple[int, int]] = set()

    def may(self, first: int, second: int) -> bool:
        return first == second or (first, second) in self._pairs

    def set(self, first: int, second: int, allowed: bool) -> None:
        change = self._pairs.update if allowed else self._pairs.difference_update
        change(((first, second), (second, first)))
