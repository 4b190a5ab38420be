"""The kernel as a pure state machine: ``syscall(thread, request) -> effects``.

Everything that affects the state of the system is a method of ``Kernel`` with a list of effects
as its result: a system call, or an event of the machine below (time passed, a device raised its
interrupt, a process died, an unmapping was verified).  There is no input or output here, no
randomness, and no clock but the one that was handed in, so a run is a function of its events;
replay, exhaustive search and property tests rest on that alone.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

from kernel.abi import FOREVER, Error, Fault, SpaceFlag, ThreadState, TraceEvent
from kernel.calls import HANDLERS
from kernel.capability import Capability, KernelObject, Refused, delete, install
from kernel.debug import inspected
from kernel.device import Device
from kernel.effects import Effect, Resume
from kernel.frame import Mapping
from kernel.label import Matrix, flow, meet
from kernel.quota import Account
from kernel.space import Space
from kernel.thread import Thread
from kernel.trace import Ring

ALL_FLAGS = int(SpaceFlag.EXECUTABLE)  # a plain integer: ~ of a flag forgets unknown bits
_RUNNING, _DEAD = ThreadState.RUNNING, ThreadState.DEAD  # looking a member up takes a while
_CALL, _RETURN = TraceEvent.CALL, TraceEvent.RETURN


class Kernel:
    """All kernel state, and the transitions between states."""

    def __init__(self, clock: Callable[[], int], memory: int) -> None:
        self.clock = clock  # monotonic nanoseconds
        self.now = clock()  # when the current event came
        self.memory = Account(memory)  # all that user mode may cause to exist, in bytes
        self.spaces: dict[int, Space] = {}  # those whose end the machine has not seen
        self.labels = Matrix()
        self.trace = Ring()
        self.effects: list[Effect] = []
        self.ending: deque[tuple[Space, Thread | None]] = deque()  # and who waits for it
        self._ids = 0
        self._resumed: deque[tuple[Thread, list[Any]]] = deque()  # calls that were held back
        self._deadlines: list[tuple[int, int, Thread]] = []  # heap; stale ones are skipped

    # Events: each returns what the machine has to do.

    def syscall(self, thread: Thread, request: list[Any]) -> list[Effect]:
        """Carry out ``request``, which ``wire.decode`` has checked, for a running thread."""
        self.now = self.clock()
        effects: list[Effect] = []
        self.effects = effects
        if thread.state is not _RUNNING:
            return self.malformed(thread, "a second call while one is outstanding")
        if thread.suspended:
            if thread.held is not None:
                return self.malformed(thread, "a second call while suspended")
            thread.held = request
            return effects
        self._perform(thread, request)
        while self._resumed:
            resumed, held = self._resumed.popleft()
            if resumed.state is _RUNNING:  # else ended since
                self._perform(resumed, held)
        return effects

    def _perform(self, thread: Thread, request: list[Any]) -> None:
        number = request[0]
        first = request[1] if len(request) > 1 else 0
        self.trace.add(self.now, _CALL, thread.id, number, first if type(first) is int else 0)
        try:
            HANDLERS[number](self, thread, *request[1:])
        except Refused as refused:
            self.fail(thread, refused.error)

    def malformed(self, thread: Thread, why: str) -> list[Effect]:
        """The thread sent what is not a system call: its space ends, nobody else is touched."""
        effects = self._begin()
        thread.space.end(self, Fault.MALFORMED, why)
        return effects

    def died(self, space: Space, fault: Fault, detail: str) -> list[Effect]:
        """The machine saw the protection domain fail, or had to end it."""
        effects = self._begin()
        space.end(self, fault, detail)
        return effects

    def ended(self, space: Space) -> list[Effect]:
        """Nothing is left of a protection domain that was to be killed."""
        effects = self._begin()
        space.ended(self)
        return effects

    def unmapped(self, mapping: Mapping) -> list[Effect]:
        """It is verified that a mapping is gone."""
        effects = self._begin()
        mapping.gone(self)
        return effects

    def interrupt(self, device: Device) -> list[Effect]:
        """An unmasked device has something to read."""
        effects = self._begin()
        device.interrupt(self)
        return effects

    def inspected(self, thread: Thread, seen: dict[int, tuple[int, int, int]]) -> list[Effect]:
        """What ``Inspect`` asked for: space id -> (process id, CPU time in ns, resident bytes)."""
        effects = self._begin()
        inspected(self, thread, seen)
        return effects

    def tick(self) -> list[Effect]:
        """Time out what is due."""
        effects = self._begin()
        now = self.clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, thread = heapq.heappop(self._deadlines)
            if thread.deadline == deadline:
                thread.cancel(self)
                self.fail(thread, Error.TIMED_OUT)
        return effects

    def next_deadline(self) -> int | None:
        """When ``tick`` is next due, in machine time."""
        heap = self._deadlines
        while heap and heap[0][2].deadline != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _begin(self) -> list[Effect]:
        self.now = self.clock()
        effects: list[Effect] = []
        self.effects = effects
        return effects

    # Boot: what the machine puts in place before the first event.

    def boot(self, name: str, memory: int, label: int = 0) -> Space:
        """Make a space that no other created, with ``memory`` bytes of quota and all flags."""
        account = self.memory.open(memory)
        if account is None:
            raise ValueError(f"{memory} bytes for {name} are more than the machine has left")
        space = Space(self, name, label, account, ALL_FLAGS)
        self.spaces[space.id] = space
        return space

    def give(self, space: Space, obj: KernelObject, rights: int, badge: int = 0) -> int:
        """Install a first capability to ``obj``; return its slot."""
        return install(self, Capability(obj, int(rights), badge, None), space)

    def start(self, space: Space, entry: str, priority: int) -> Thread:
        """Make the first thread of a booted space; the machine starts it."""
        thread = Thread(self, space, entry, priority)
        space.account.charge(thread.cost)
        space.threads.append(thread)
        return thread

    # What the handlers of the calls use.

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def note(self, event: TraceEvent, thread: int, a: int = 0, b: int = 0) -> None:
        self.trace.add(self.now, event, thread, a, b)

    def answer(
        self,
        thread: Thread,
        answer: tuple[Any, ...],
        resource: Mapping | Device | None = None,
        writable: bool = False,
    ) -> None:
        """Return from the thread's call, wherever it is blocked; the dead get no answer."""
        if thread.state is _DEAD:
            return
        if thread.queue is not None:
            thread.queue.remove(thread)
            thread.queue = None
        thread.state = _RUNNING
        thread.deadline = 0
        thread.message = None
        self.trace.add(self.now, _RETURN, thread.id, answer[0])
        effect = Resume(thread, answer, resource, writable)
        if thread.suspended:
            thread.held = effect
        else:
            self.effects.append(effect)

    def go_on(self, thread: Thread) -> None:
        """The thread is no longer suspended: let what was held back happen."""
        held, thread.held = thread.held, None
        if isinstance(held, Resume):
            self.effects.append(held)
        elif held is not None:
            self._resumed.append((thread, held))

    def finish(self, thread: Thread, *results: Any) -> None:
        """Return successfully."""
        self.answer(thread, (0, *results))

    def fail(self, thread: Thread, error: Error) -> None:
        """Return with an error."""
        self.answer(thread, (int(error),))

    def finish_when_unmapped(self, thread: Thread) -> None:
        """Return once the machine has confirmed all that the thread waits for."""
        if thread.pending and thread.state is not ThreadState.DEAD:
            thread.block(ThreadState.UNMAPPING, None)
        else:
            self.finish(thread)

    def settle(self, thread: Thread) -> None:
        """One confirmation that the thread waits for has come."""
        thread.pending -= 1
        if not thread.pending and thread.state is ThreadState.UNMAPPING:
            self.finish(thread)

    def set_deadline(self, thread: Thread, timeout: int) -> None:
        """Let the blocked thread's call time out in ``timeout`` nanoseconds."""
        if thread.state is ThreadState.RUNNING or timeout == FOREVER:
            return
        thread.deadline = self.clock() + timeout
        heap = self._deadlines
        if len(heap) > 64 and len(heap) > 4 * sum(len(s.threads) for s in self.spaces.values()):
            valid = {(at, thread): order for at, order, thread in heap if thread.deadline == at}
            heap[:] = [(at, order, thread) for (at, thread), order in valid.items()]
            heapq.heapify(heap)
        heapq.heappush(heap, (thread.deadline, self.next_id(), thread))

    def separate(self, first: int, second: int, waiter: Thread) -> None:
        """Take away all that the pair of labels, which may no longer talk, had let through."""
        pair = (first, second)
        for space in tuple(self.spaces.values()):
            if space.label not in pair:
                continue
            other = second if space.label == first else first
            for thread in space.threads:
                cap = thread.reply_cap
                if cap is not None and cap.space is not None and cap.space.label == other:
                    thread.cancel(self)
                    self.fail(thread, Error.DENIED)
            for cap in tuple(space.caps.values()):
                if cap.space is None or cap.object.label == space.label:
                    continue  # gone already; or its own object: the other side loses it
                mine = flow(cap.rights)
                flows = cap.object.flows
                if any(label == other and meet(mine, theirs) for label, theirs in flows):
                    delete(self, cap, waiter)
            for mapping in space.mappings.values():
                if mapping.removing:  # perhaps since before
                    mapping.remove(self, waiter, asked=False)
