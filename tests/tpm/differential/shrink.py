"""Fewer steps, and simpler ones, that still show the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.tpm.differential.steps import Step, simpler, without

Shows = Callable[[Sequence[Step]], bool]


def shrunk(steps: Sequence[Step], shows: Shows) -> list[Step]:
    """A part of `steps` that shows it still, of which nothing more can be dropped alone.

    If all of them do not show it again, because it depends on what a TPM drew, they are returned.
    """
    best = list(steps)
    if not shows(best):
        return best
    size = len(best) // 2
    while size:
        best, smaller = _dropped(best, size, shows)
        size = min(size, len(best)) if smaller and size == 1 else size // 2
    return _simplified(best, shows)


def _dropped(steps: list[Step], size: int, shows: Shows) -> tuple[list[Step], bool]:
    """Drop every run of `size` steps that is not needed, from the end on."""
    smaller = False
    end = len(steps)
    while end > 0:
        start = max(0, end - size)
        candidate = without(steps, range(start, end))
        if candidate and shows(candidate):
            steps, smaller = candidate, True
        end = start
    return steps, smaller


def _simplified(steps: list[Step], shows: Shows) -> list[Step]:
    place = 0
    while place < len(steps):
        for candidate in simpler(steps[place]):
            changed = [*steps[:place], candidate, *steps[place + 1 :]]
            if shows(changed):
                steps = changed
                break
        else:
            place += 1
    return steps
