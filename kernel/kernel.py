"""The kernel as a pure state machine: ``syscall(thread, request) -> effects``.

Everything that affects the state of the system is a method of ``Kernel`` with a list of effects
as its result: a system call, or an event of the machine below (time passed, a device raised its
interrupt, a process died, an unmapping was verified).  There is no input or output here, no
randomness, and no clock but the one that was handed in, so a run is a function of its events;
replay, exhaustive search and property tests rest on that alone.

A system call is carried out by the function of its name, in the file of its object.  It is handed
the calling thread and the call's arguments; before that, the capabilities that the table says it
needs are looked up here, and the message it sends is checked.  It ends with an answer to the
thread, leaves it blocked, or raises ``Refused`` and has changed nothing.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from kernel import capability, debug, device, endpoint, frame, link, notification, space, thread
from kernel.abi import CALLS, KINDS, Error, Fault, ThreadState, TraceEvent
from kernel.capability import Refused
from kernel.device import Device
from kernel.effects import Answer, Effect, Resource, Resume
from kernel.frame import Frame, Mapping
from kernel.label import Matrix
from kernel.link import Link
from kernel.quota import Account
from kernel.space import Space
from kernel.thread import Thread
from kernel.trace import RING, SLACK, Ring

__all__ = ["Account", "Device", "Frame", "Kernel", "Link", "Mapping", "Space", "Thread"]

_RUNNING, _DEAD = ThreadState.RUNNING, ThreadState.DEAD  # looking a member up takes a while
_new = tuple.__new__  # of a named tuple, in half the time
Inspect = Callable[[Space], tuple[int, int, int]]
"""What only the machine knows of a space: process id, CPU time in ns, resident bytes."""
_CALL, _RETURN, _FULL = TraceEvent.CALL, TraceEvent.RETURN, RING + SLACK


class Kernel:
    """All kernel state, and the transitions between states."""

    def __init__(
        self, clock: Callable[[], int], memory: int, inspect: Inspect = lambda _: (0, 0, 0)
    ) -> None:
        self.clock = clock  # monotonic nanoseconds
        self.inspect = inspect
        self.memory = Account(memory)  # all that user mode may cause to exist, in bytes
        self.spaces: dict[int, Space] = {}  # those whose end the machine has not seen
        self.labels = Matrix()
        self.now = 0  # when the current event came
        self.trace = Ring()
        self.note = self.trace.add  # of (now, event, thread, a, b)
        self.effects: list[Effect] = []
        self.ending: deque[tuple[Space, Thread | None]] = deque()  # and who waits for it
        self.next_id = count(1).__next__  # a new object's
        self.resumed: deque[Thread] = deque()  # those that may do what was held back
        self.deadlines: list[tuple[int, int, Thread]] = []  # heap; stale ones are skipped

    # Events: each returns what the machine has to do.

    def syscall(self, thread: Thread, request: list[Any]) -> list[Effect]:
        """Carry out ``request``, which ``wire.decode`` has checked, for a running thread."""
        self.now = self.clock()
        self.effects = []
        if len(self.trace.events) > _FULL:
            self.trace.trim()
        if thread.state is not _RUNNING or thread.held is not None:
            thread.space.end(Fault.MALFORMED, "a second call while one is outstanding")
        elif thread.suspended:
            thread.held = request
        else:
            self._perform(thread, request)
        while self.resumed:  # let what was held back while they were suspended happen
            resumed = self.resumed.popleft()
            held, resumed.held = resumed.held, None
            if isinstance(held, Resume):
                self.effects.append(held)
            elif held is not None:
                self._perform(resumed, held)
        return self.effects

    def malformed(self, thread: Thread, why: str) -> list[Effect]:
        """The thread sent what is not a system call: its space ends, nobody else is touched."""
        return self._event(thread.space.end, Fault.MALFORMED, why)

    def died(self, space: Space, fault: Fault, detail: str) -> list[Effect]:
        """The machine saw the protection domain fail, or had to end it."""
        return self._event(space.end, fault, detail)

    def ended(self, space: Space) -> list[Effect]:
        """Nothing is left of a protection domain that was to be killed."""
        return self._event(space.ended)

    def unmapped(self, mapping: Mapping) -> list[Effect]:
        """It is verified that a mapping is gone."""
        return self._event(mapping.gone)

    def interrupt(self, device: Device) -> list[Effect]:
        """An unmasked device has something to read."""
        return self._event(device.interrupt)

    def tick(self) -> list[Effect]:
        """Time out what is due."""
        return self._event(self._time_out)

    def _event(self, transition: Callable[..., None], *arguments: Any) -> list[Effect]:
        self.now = self.clock()
        self.effects = []
        transition(*arguments)
        return self.effects

    def _perform(self, thread: Thread, request: list[Any]) -> None:
        handler, needed, numbered = HANDLERS[request[0]]
        self.note((self.now, _CALL, thread.id, request[0], request[1] if numbered else 0))
        caps = thread.space.caps
        try:
            for place, kind, rights, optional in needed:
                slot = request[place]
                found = request[place] = caps.get(slot)
                if found is None or kind != found.object.kind or rights & ~found.rights:
                    request[place] = thread.space.lookup(slot, kind, rights, optional)
            handler(thread, *request[1:])
        except Refused as refused:
            thread.fail(refused.error)

    # What the handlers of the calls use.

    def answer(
        self, thread: Thread, answer: Answer, resource: Resource = None, writable: bool = False
    ) -> None:
        """Return from the thread's call, wherever it is blocked; the dead get no answer."""
        if thread.state is _DEAD:
            return
        if thread.queue is not None:
            thread.queue.remove(thread)  # as unblock, which would take a call more
            thread.queue = thread.message = None
        thread.state, thread.deadline = _RUNNING, 0
        self.note((self.now, _RETURN, thread.id, answer[0], 0))
        effect = _new(Resume, (thread, answer, resource, writable))
        if thread.suspended:
            thread.held = effect
        else:
            self.effects.append(effect)

    # Time

    def set_deadline(self, thread: Thread, timeout: int) -> None:
        """Let the blocked thread's call time out in ``timeout`` nanoseconds."""
        thread.deadline = self.clock() + timeout
        heap = self.deadlines
        if len(heap) > 64 and len(heap) > 4 * sum(len(s.threads) for s in self.spaces.values()):
            valid = {(at, thread): order for at, order, thread in heap if thread.deadline == at}
            heap[:] = sorted((at, order, thread) for (at, thread), order in valid.items())
        heapq.heappush(heap, (thread.deadline, self.next_id(), thread))

    def _time_out(self) -> None:
        now = self.clock()
        while self.deadlines and self.deadlines[0][0] <= now:
            deadline, _, thread = heapq.heappop(self.deadlines)
            if thread.deadline == deadline:
                thread.cancel()
                thread.fail(Error.TIMED_OUT)


_MODULES = (capability, debug, device, endpoint, frame, link, notification, space, thread)
_FUNCTIONS = {name: found for module in _MODULES for name, found in vars(module).items()}


HANDLERS: Final = [
    (_FUNCTIONS[s.name], s.needed, s.arguments[:1] and KINDS[s.arguments[0][1]] is int)
    for s in CALLS
]
"""Of each call, by number: its function, the capabilities it needs, whether its first argument is a
number."""
