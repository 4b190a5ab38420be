"""Division of a stream's data area among requests."""

from __future__ import annotations

from bisect import insort


class Area:
    """First fit; neighbours that are free are joined.  Sizes and places are in bytes."""

    def __init__(self, size: int) -> None:
        self._free = [(0, size)] if size else []  # (start, end), in order, never touching

    def take(self, size: int) -> int | None:
        """Where ``size`` bytes, at least 1, are from now on; None if there is no room."""
        for index, (start, end) in enumerate(self._free):
            if end - start >= size:
                self._free[index : index + 1] = [(start + size, end)] if end - start > size else []
                return start
        return None

    def give(self, start: int, size: int) -> None:
        """Return what ``take`` gave."""
        end = start + size
        for piece in [piece for piece in self._free if piece[1] == start or piece[0] == end]:
            self._free.remove(piece)
            start, end = min(start, piece[0]), max(end, piece[1])
        insort(self._free, (start, end))
