"""The state of devices as plain data.

A device's state is in its attributes: numbers, octets, lists of them, and parts (counters, queues)
that are objects of `vmm.devices` themselves.  Everything else that a device holds (buses, memory,
backends, callbacks) is wiring, which another board has in its own right.  So the state is taken by
walking the attributes, and put into a board that was built alike, without a line in each device.

Memory of a device's own is a `memoryview`, and so wiring; the device names in ``kept`` what else is
its state: properties.

What a device has planned is a `Timer` whose action is a method of a device.  A device that has more
to do once its state is there has a method ``restored``; while its ``busy`` is true, an answer is on
its way to it that no snapshot could hold.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from vmm.clock import Timer, TimerQueue

DEVICES: Final = "vmm.devices."
_SCALARS: Final[tuple[type, ...]] = (bool, int, float, str, bytes, type(None))
_WIRING: Final = object()
"""Stands for what is not state."""

Tree = Any
"""Plain data: scalars, octets, lists and dictionaries."""


class SnapshotError(Exception):
    """A snapshot that cannot be taken or used; the text is one sentence."""


def is_part(value: object) -> bool:
    """Whether an object is a device or a part of one."""
    return type(value).__module__.startswith(DEVICES) and not isinstance(value, enum.Enum | tuple)


def _attributes(part: object) -> Iterator[tuple[str, Any]]:
    for kind in type(part).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__weakref__", "__dict__") and hasattr(part, name):
                yield name, getattr(part, name)
    yield from getattr(part, "__dict__", {}).items()
    for name in getattr(type(part), "kept", ()):
        yield name, getattr(part, name)


class Walk:
    """The parts of some devices, each with the path at which it was found first."""

    def __init__(self, roots: dict[str, object]) -> None:
        self.parts: dict[str, object] = {}
        self._paths: dict[int, str] = {}
        for name, root in roots.items():
            self._find(name, root)

    def _find(self, path: str, value: object) -> None:
        if is_part(value):
            if id(value) in self._paths:
                return
            self._paths[id(value)] = path
            self.parts[path] = value
            for name, attribute in _attributes(value):
                self._find(f"{path}.{name}", attribute)
        elif isinstance(value, list | tuple | deque):
            for index, item in enumerate(value):
                self._find(f"{path}[{index}]", item)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._find(f"{path}[{key!r}]", item)

    def path(self, part: object) -> str | None:
        """Where a part is, if it is one of these."""
        return self._paths.get(id(part))


# Taking


def capture(roots: dict[str, object], timers: TimerQueue) -> Tree:
    """The state of devices by name, and what they have planned."""
    walk = Walk(roots)
    known = {id(timer): index for index, timer in enumerate(timers.planned())}
    parts = {path: _state(part, known) for path, part in walk.parts.items()}
    return {"parts": parts, "timers": [_plan(timer, walk) for timer in timers.planned()]}


def _plan(timer: Timer, walk: Walk) -> list[Any]:
    action = timer.action
    owner = getattr(action, "__self__", None)
    path = walk.path(owner)
    if path is None:
        raise SnapshotError(f"a timer's action is no method of a device: {action!r}")
    return [timer.deadline, path, action.__name__]  # type: ignore[union-attr]


def _state(part: object, timers: dict[int, int]) -> dict[str, Tree]:
    found = {name: _plain(value, timers) for name, value in _attributes(part)}
    return {name: value for name, value in found.items() if value is not _WIRING}


def _plain(value: Any, timers: dict[int, int]) -> Tree:
    if isinstance(value, enum.Enum):
        return {"enum": value.name}
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, Timer):
        return {"timer": timers[id(value)]} if id(value) in timers else None
    if isinstance(value, set | frozenset):
        items = [_plain(item, timers) for item in value]
        return _WIRING if _WIRING in items else {"set": sorted(items)}
    if isinstance(value, list | tuple | deque):
        return _plain_list(value, timers)
    if isinstance(value, dict):
        pairs = [[_plain(key, timers), _plain(item, timers)] for key, item in value.items()]
        is_state = all(key is not _WIRING and item is not _WIRING for key, item in pairs)
        return {"dict": pairs} if is_state else _WIRING
    return _WIRING


def _plain_list(value: Any, timers: dict[int, int]) -> Tree:
    items = [_plain(item, timers) for item in value]
    return _WIRING if any(item is _WIRING for item in items) else items


# Putting back


def restore(roots: dict[str, object], timers: TimerQueue, tree: Tree) -> None:
    """Make devices that were built alike be in a state of ``capture``.

    Raises ``SnapshotError`` if they were not built alike.
    """
    walk = Walk(roots)
    try:
        parts, plans = tree["parts"], tree["timers"]
        if parts.keys() != walk.parts.keys():
            odd = sorted(parts.keys() ^ walk.parts.keys())
            raise SnapshotError(f"the guest's devices are others: {', '.join(odd[:3])}")
        timers.clear()
        planned = [_schedule(timers, walk, *plan) for plan in plans]
        for path, part in walk.parts.items():
            _put(part, path, parts[path], planned)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SnapshotError(f"the state of the devices is not one: {error}") from None
    for part in walk.parts.values():
        restored = getattr(part, "restored", None)
        if restored is not None:
            restored()


def _schedule(timers: TimerQueue, walk: Walk, deadline: int, path: str, method: str) -> Timer:
    part = walk.parts[path]
    action = getattr(part, method, None)
    if (
        method.startswith("__")
        or not callable(action)
        or getattr(action, "__self__", None) is not part
    ):
        raise SnapshotError(f"{path} has no action {method}")
    return timers.schedule(int(deadline), action)


def _put(part: object, path: str, state: dict[str, Tree], planned: list[Timer]) -> None:
    current = dict(_attributes(part))
    for name, saved in state.items():
        if name not in current:
            raise SnapshotError(f"{path} has no {name}")
        old = current[name]
        new = _value(saved, old, planned, f"{path}.{name}")
        if isinstance(old, bytearray | list | dict | set | deque) and type(old) is type(new):
            _replace(old, new, f"{path}.{name}")  # others may hold it too
        else:
            setattr(part, name, new)


def _replace(old: Any, new: Any, where: str) -> None:
    if isinstance(old, bytearray):
        if old and len(old) != len(new):
            raise SnapshotError(f"{where} is of another size")
        old[:] = new
        return
    old.clear()
    if isinstance(old, list | deque):
        old.extend(new)
    else:
        old.update(new)


def _value(saved: Tree, old: Any, planned: list[Timer], where: str) -> Any:
    """What a saved value is in the terms of the one that is there."""
    if isinstance(saved, dict):
        return _marked(saved, old, planned, where)
    if isinstance(saved, list):
        kind = type(old) if isinstance(old, list | tuple | deque) else list
        items = [_value(item, None, planned, where) for item in saved]
        if issubclass(kind, tuple):
            return kind(*items) if hasattr(kind, "_fields") else tuple(items)
        return deque(items, old.maxlen) if isinstance(old, deque) else items
    if isinstance(saved, bytes) and isinstance(old, bytearray):
        return bytearray(saved)
    if old is None or saved is None or isinstance(old, (Timer, *_SCALARS)):
        wrong = isinstance(old, bytes | str) and isinstance(saved, int)
        wrong = wrong or (isinstance(old, int) and isinstance(saved, bytes | str))
        if wrong:
            raise SnapshotError(f"{where} is of another kind")
        return saved
    raise SnapshotError(f"{where} is of another kind")


def _marked(saved: dict[str, Tree], old: Any, planned: list[Timer], where: str) -> Any:
    ((mark, content),) = saved.items()
    if mark == "timer":
        return planned[content]
    if mark == "enum":
        if not isinstance(old, enum.Enum):
            raise SnapshotError(f"{where} is of another kind")
        return type(old)[content]
    if mark == "set":
        items = [_value(item, None, planned, where) for item in content]
        return frozenset(items) if isinstance(old, frozenset) else set(items)
    if mark == "dict":
        return {
            _value(k, None, planned, where): _value(v, None, planned, where) for k, v in content
        }
    raise SnapshotError(f"{where} is nothing that is known")
