"""The client and its trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from servers.runtime import Environment, KernelError, Right, ServiceError
from tests.support.programs.counter import Counter
from tests.support.programs.worker import Worker

SECOND = 1_000_000_000


def attempt(action: Callable[[], object]) -> str:
    """What an action returns, or the kind of error it ends with."""
    try:
        return str(action())
    except (KernelError, ServiceError) as error:
        return type(error).__name__


class Trials(Worker):
    """The trials."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._counter = env.open(Counter, "counter")

    def work(self) -> list[str]:
        trials = (self._messages, self._memory, self._signals, self._refusals)
        return [found for trial in trials for found in trial()]

    def direct(self) -> list[str]:
        counter = self._env.open(Counter, "counter", timeout=20 * SECOND, direct=True)
        other = self._env.open(Counter, "counter", timeout=SECOND // 20, direct=True)
        found = [f"sum {counter.add(3)} {counter.add(amount=4)}"]
        found += [attempt(lambda: counter.add(-1)), attempt(counter.fail)]
        found += [attempt(lambda: counter.slow(1000))]
        found += [f"filled {counter.fill(self._env.frame(4096), 65)}", f"sum {counter.add(1)}"]
        # A new link takes the place of the first, and has a service of its own.
        found += [f"sum {other.add(1)}", attempt(lambda: other.slow(SECOND // 5))]
        return [*found, f"sum {other.add(1)}", attempt(counter.fail_hard)]

    def threads(self) -> int:
        said: list[int] = []
        event = self._env.event()

        def body(env: Environment) -> None:
            said.append(env.open(Counter, "counter").add(1))
            event.set()

        for number in range(3):
            self._env.thread(body, f"helper{number}")
            event.wait(20 * SECOND)
        return said[-1]

    def _messages(self) -> Iterator[str]:
        yield f"sum {self._counter.add(3)} {self._counter.add(4)}"
        yield attempt(lambda: self._counter.add(-1))
        yield attempt(self._counter.fail)
        patient = self._env.open(Counter, "counter", timeout=20 * SECOND)
        yield attempt(lambda: patient.slow(1000))
        hasty = self._env.open(Counter, "counter", timeout=SECOND // 20)
        yield attempt(lambda: hasty.slow(SECOND // 5))
        yield f"sum {self._counter.add(0)}"

    def _memory(self) -> Iterator[str]:
        frame = self._env.frame(3 * 4096)
        mapping = frame.map()
        yield f"filled {self._counter.fill(frame, 65)}"
        yield bytes(mapping.view[-3:]).decode()
        lent = frame.mint(Right.READ | Right.GRANT)
        yield f"kept {self._counter.keep(lent)}"
        yield attempt(lambda: self._counter.fill(lent, 66))
        frame.revoke()
        yield attempt(lent.drop)
        mapping.view[0] = 67
        yield bytes(mapping.view[:2]).decode()
        mapping.close()
        frame.drop()

    def _signals(self) -> Iterator[str]:
        notification = self._env.notification()
        lent = notification.mint(Right.SEND | Right.GRANT, 4)
        self._counter.tell(lent, 1)
        yield f"bits {notification.wait(20 * SECOND)} {notification.poll()}"
        yield attempt(lambda: notification.wait(1000))
        lent.drop()
        notification.drop()

    def _refusals(self) -> Iterator[str]:
        system = self._env.system
        yield attempt(lambda: system.cap_drop(9999))
        yield attempt(lambda: system.frame_create(5))
        yield attempt(lambda: system.frame_create(1 << 40))
        yield attempt(lambda: system.cap_mint(self._env.slot("counter"), 63, 0, 0))


def main(env: Environment) -> None:
    env.serve(Trials(env), on="worker")
