"""States of a world that are kept, and put back in place.

Copying a world for each action costs ten times what the action does, and as much again to throw the
copy away.  So there is one world, whose objects are never copied: a snapshot knows what was in each
of them.  What did not change since the state before is shared with its snapshot, so a state costs
what the step to it changed; to put one back is to compare, and to write what differs.

All that can be reached from the world by attributes and containers is kept, whatever its class: a
new attribute of a kernel object needs nothing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from operator import attrgetter
from typing import Any, Final, NamedTuple

from kernel.trace import Ring
from tools.check.model import Step

_OUTSIDE: Final = (Enum, Ring, Step, type)
"""Of what the project's modules define, what never changes or has no part in the state."""
_CONTAINERS: Final = (dict, list, deque, set)


class Cell(NamedTuple):
    """One thing that can change: the attributes of an object, or a container."""

    live: Any
    """The object or container."""
    view: Iterable[Any]
    """What shows its content: a view of a dictionary, or itself."""
    kept: Any
    """The content as it was, in order."""
    write: Callable[[Any, Any], None]
    """Puts ``kept`` back into ``live``."""


class Record:
    """An object as it was: its attributes, and the containers that only it has."""

    __slots__ = ("attributes", "containers", "owner", "refers")

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.containers: list[Cell] = []
        refers: dict[int, Any] = {}  # by id: some classes compare by value
        self.attributes = _attributes(owner)
        self._scan(self.attributes.kept, refers)
        self.refers = tuple(refers.values())

    def _scan(self, values: Iterable[Any], refers: dict[int, Any]) -> None:
        for value in values:
            what = _KINDS[type(value)]
            if not what:
                continue
            if what == _OBJECT:
                refers[id(value)] = value
            elif what == _TUPLE:
                self._scan(value, refers)
            else:
                cell = _container(value)
                self.containers.append(cell)
                if cell.kept:
                    self._scan(cell.kept, refers)


_PLAIN, _OBJECT, _TUPLE, _CONTAINER = range(4)


class _Kinds(dict[type, int]):
    """What instances of a class are to a snapshot."""

    def __missing__(self, kind: type) -> int:
        if kind in _CONTAINERS:
            found = _CONTAINER
        elif issubclass(kind, tuple):
            found = _TUPLE
        else:
            ours = kind.__module__.partition(".")[0] in ("kernel", "tools")
            found = _OBJECT if ours and not issubclass(kind, _OUTSIDE) else _PLAIN
        self[kind] = found
        return found


_KINDS: Final = _Kinds()


def _slots_of(kind: type) -> Callable[[Any], Any]:
    getter = _getters.get(kind)
    if getter is None:
        getter = _getters[kind] = attrgetter(*kind.__slots__)  # type: ignore[attr-defined]
    return getter


_getters: Final[dict[type, Callable[[Any], Any]]] = {}


def _attributes(owner: Any) -> Cell:
    if hasattr(owner, "__dict__"):
        view = vars(owner).values()
        return Cell(owner, view, tuple(view), _write_attributes)
    return Cell(owner, (), _slots_of(type(owner))(owner), _write_slots)


def _write_attributes(owner: Any, kept: tuple[Any, ...]) -> None:
    attributes = vars(owner)
    if len(attributes) != len(kept):
        raise TypeError(f"a {type(owner).__name__} got an attribute that it was not made with")
    attributes.update(zip(attributes, kept, strict=True))


def _write_slots(owner: Any, kept: tuple[Any, ...]) -> None:
    for name, value in zip(type(owner).__slots__, kept, strict=True):
        setattr(owner, name, value)


def _container(live: Any) -> Cell:
    if type(live) is dict:
        view = live.items()
        return Cell(live, view, tuple(view), _write_dict)
    if type(live) is set:
        return Cell(live, live, tuple(live), _write_set)
    return Cell(live, live, tuple(live), _write_sequence)


def _write_dict(live: dict[Any, Any], kept: tuple[Any, ...]) -> None:
    live.clear()
    live.update(kept)


def _write_set(live: set[Any], kept: tuple[Any, ...]) -> None:
    live.clear()
    live.update(kept)


def _write_sequence(live: Any, kept: tuple[Any, ...]) -> None:
    live.clear()
    live.extend(kept)


class Snapshot:
    """All that a world is, at a moment."""

    __slots__ = ("_known", "_pruned", "_records")

    def __init__(self, root: Any) -> None:
        """Keep the world as it is."""
        self._records: list[Record] = []
        self._known: dict[int, Any] = {}
        self._add([root])
        self._pruned = len(self._records)

    def _add(self, found: Iterable[Any]) -> None:
        """Keep objects that were not known, and what they lead to."""
        todo = list(found)
        while todo:
            owner = todo.pop()
            if id(owner) not in self._known:
                self._known[id(owner)] = owner
                record = Record(owner)
                self._records.append(record)
                todo.extend(record.refers)

    def write(self, number: int) -> None:
        """Put one object back."""
        record = self._records[number]
        for cell in (*record.containers, record.attributes):
            cell.write(cell.live, cell.kept)

    def opened(self) -> Opened:
        """Ready to be put back, as often as needed."""
        return Opened(self._records, self)

    def after(self, changed: set[int]) -> Snapshot:
        """Keep the world as it is now, where ``changed`` tells which records no longer hold."""
        new = Snapshot.__new__(Snapshot)
        records = self._records
        renewed = {number: Record(records[number].owner) for number in changed}
        new._records = [renewed.get(i, record) for i, record in enumerate(records)]
        new._known, new._pruned = self._known, self._pruned
        known = self._known
        found = [
            one for record in renewed.values() for one in record.refers if id(one) not in known
        ]
        if found:
            new._known = known.copy()
            new._add(found)
        if len(new._records) > new._pruned + 24:  # much of it may not be reached any more
            return Snapshot(records[0].owner)
        return new


class Opened:
    """A snapshot whose cells are laid out for comparing.

    Containers come first, and attributes after what is in them is as it was: so an attribute that
    was bound to another container shows, even if that one has now what the first had.
    """

    __slots__ = ("_containers", "_slots", "_snapshot", "_views")

    def __init__(self, records: list[Record], snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._containers: list[tuple[Any, Any, int, Cell]] = []
        self._views: list[tuple[Any, Any, int, Cell]] = []
        self._slots: list[tuple[Any, Any, Any, int, Cell]] = []
        for number, record in enumerate(records):
            cell = record.attributes
            if cell.write is _write_slots:
                getter = _slots_of(type(cell.live))
                self._slots.append((getter, cell.live, cell.kept, number, cell))
            else:
                self._views.append((cell.view, cell.kept, number, cell))
            for cell in record.containers:
                self._containers.append((cell.view, cell.kept, number, cell))

    def put_back(self) -> None:
        """Make the world what it was."""
        for view, kept, _, cell in self._containers:
            if tuple(view) != kept:
                cell.write(cell.live, kept)
        for view, kept, _, cell in self._views:
            if tuple(view) != kept:
                cell.write(cell.live, kept)
        for get, live, kept, _, cell in self._slots:
            if get(live) != kept:
                cell.write(live, kept)

    def after(self) -> Snapshot:
        """A snapshot of the world as it is now, which shares with this one what is as it was; and
        put the world back."""
        changed = {n for view, kept, n, _ in self._containers if tuple(view) != kept}
        changed.update([n for view, kept, n, _ in self._views if tuple(view) != kept])
        changed.update([n for get, live, kept, n, _ in self._slots if get(live) != kept])
        found = self._snapshot.after(changed)
        for number in changed:
            self._snapshot.write(number)
        return found
