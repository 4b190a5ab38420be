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

from kernel import capability, debug, device, endpoint, frame, notification, space, thread
from kernel.abi import CALLS, Error, Fault, SpaceFlag, ThreadState, TraceEvent
from kernel.capability import Capability, KernelObject, Refused
from kernel.device import Device
from kernel.effects import Answer, Effect, Resource, Resume
from kernel.frame import Frame, Mapping
from kernel.label import Matrix
from kernel.quota import Account
from kernel.space import Space
from kernel.thread import Thread
from kernel.trace import Ring

__all__ = ["Account", "Device", "Frame", "Kernel", "Mapping", "Space", "Thread"]

_RUNNING, _DEAD = ThreadState.RUNNING, ThreadState.DEAD  # looking a member up takes a while
_new = tuple.__new__  # of a named tuple, in half the time
_CALL, _RETURN = TraceEvent.CALL, TraceEvent.RETURN


class Kernel:
    """All kernel state, and the transitions between states."""

    def __init__(self, clock: Callable[[], int], memory: int) -> None:
        self.clock = clock  # monotonic nanoseconds
        self.memory = Account(memory)  # all that user mode may cause to exist, in bytes
        self.spaces: dict[int, Space] = {}  # those whose end the machine has not seen
        self.labels = Matrix()
        self.trace = Ring()
        self.note = self.trace.add
        self.effects: list[Effect] = []
        self.ending: deque[tuple[Space, Thread | None]] = deque()  # and who waits for it
        self.next_id = count(1).__next__  # a new object's
        self.resumed: deque[Thread] = deque()  # those that may do what was held back
        self._deadlines: list[tuple[int, int, Thread]] = []  # heap; stale ones are skipped

    # Events: each returns what the machine has to do.

    def syscall(self, thread: Thread, request: list[Any]) -> list[Effect]:
        """Carry out ``request``, which ``wire.decode`` has checked, for a running thread."""
        self.trace.now = self.clock()
        self.effects = []
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

    def inspected(self, thread: Thread, seen: dict[int, tuple[int, int, int]]) -> list[Effect]:
        """What ``Inspect`` asked for: space id -> (process id, CPU time in ns, resident bytes)."""
        return self._event(debug.inspected, thread, seen)

    def tick(self) -> list[Effect]:
        """Time out what is due."""
        return self._event(self._time_out)

    def _event(self, transition: Callable[..., None], *arguments: Any) -> list[Effect]:
        self.trace.now = self.clock()
        self.effects = []
        transition(*arguments)
        return self.effects

    def _perform(self, thread: Thread, request: list[Any]) -> None:
        first = request[1] if len(request) > 1 and type(request[1]) is int else 0
        self.note(_CALL, thread.id, request[0], first)
        handler, needed, sends = HANDLERS[request[0]]
        space = thread.space
        try:
            for place, kind, rights, optional in needed:
                request[place] = space.lookup(request[place], kind, rights, optional)
            if sends:  # its message is one argument
                _, target, label, data, slots, *rest = request
                handler(thread, target, endpoint.outgoing(space, label, data, slots), *rest)
            else:
                handler(thread, *request[1:])
        except Refused as refused:
            thread.fail(refused.error)

    # Boot: what the machine puts in place before the first event.

    def boot(self, name: str, memory: int, label: int = 0) -> Space:
        """Make a space that no other created, with ``memory`` bytes of quota and all flags."""
        account = self.memory.open(memory)
        if account is None:
            raise ValueError(f"{memory} bytes for {name} are more than the machine has left")
        # The flags are a plain integer, since ~ of an IntFlag forgets unknown bits.
        space = Space(self, name, label, account, int(SpaceFlag.EXECUTABLE))
        self.spaces[space.id] = space
        return space

    def give(self, space: Space, obj: KernelObject, rights: int, badge: int = 0) -> int:
        """Install a first capability to ``obj``; return its slot."""
        return Capability(obj, int(rights), badge).install(space)

    def start(self, space: Space, entry: str, priority: int) -> Thread:
        """Make the first thread of a booted space; the machine starts it."""
        thread = Thread(space, entry, priority)
        space.account.charge(thread.cost)
        space.threads.append(thread)
        return thread

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
        self.note(_RETURN, thread.id, answer[0])
        effect = _new(Resume, (thread, answer, resource, writable))
        if thread.suspended:
            thread.held = effect
        else:
            self.effects.append(effect)

    # Time

    def set_deadline(self, thread: Thread, timeout: int) -> None:
        """Let the blocked thread's call time out in ``timeout`` nanoseconds."""
        thread.deadline = self.clock() + timeout
        heap = self._deadlines
        if len(heap) > 64 and len(heap) > 4 * sum(len(s.threads) for s in self.spaces.values()):
            valid = {(at, thread): order for at, order, thread in heap if thread.deadline == at}
            heap[:] = [(at, order, thread) for (at, thread), order in valid.items()]
            heapq.heapify(heap)
        heapq.heappush(heap, (thread.deadline, self.next_id(), thread))

    def next_deadline(self) -> int | None:
        """When ``tick`` is next due, in machine time."""
        heap = self._deadlines
        while heap and heap[0][2].deadline != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _time_out(self) -> None:
        now = self.clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, thread = heapq.heappop(self._deadlines)
            if thread.deadline == deadline:
                thread.cancel()
                thread.fail(Error.TIMED_OUT)


_MODULES = (capability, debug, device, endpoint, frame, notification, space, thread)
_FUNCTIONS = {name: found for module in _MODULES for name, found in vars(module).items()}


HANDLERS: Final = [(_FUNCTIONS[s.name], s.needed, "caps" in dict(s.arguments)) for s in CALLS]
"""Of each call, by number: its function, the capabilities it needs, whether it sends a message."""
