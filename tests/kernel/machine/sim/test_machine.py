"""The sim machine: determinism, priorities, budgets, virtual time, and the ends of programs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack
import pytest

from kernel.abi import FOREVER, NULL, DebugOp, Error, Fault, Right, ThreadOp, TraceEvent
from kernel.machine.config import BootConfig, DeviceConfig
from kernel.machine.sim import Deadlock, SimMachine, machine
from kernel.machine.sim.machine import CALL_COST, NEVER
from kernel.thread import Thread
from kernel.trace import RING
from servers.runtime import Environment, NoDevice, Notification, TimedOut
from servers.runtime.errors import BadArgument
from servers.runtime.sim import programs
from servers.runtime.syscalls import Syscalls
from tools.check.harness import SPECS

Main = Callable[[Environment], object]
MIB = 1 << 20


class Machine(SimMachine):
    """Raises what its root task raised."""

    def __init__(
        self,
        root: Main,
        seed: int = 0,
        others: Mapping[str, Main] | None = None,
        devices: Sequence[DeviceConfig] = (),
    ) -> None:
        self.failures: list[Exception] = []

        def watched(env: Environment) -> None:
            try:
                root(env)
            except Exception as error:
                self.failures.append(error)

        mains: dict[str, Main] = {"root": watched, **(others or {})}
        super().__init__(
            BootConfig("root", memory=64 * MIB, devices=devices), programs(mains), seed
        )

    def run(self, steps: int | None = None) -> int:
        done = super().run(steps)
        if self.failures:
            raise self.failures[0]
        return done


def run(root: Main, seed: int = 0, **others: Main) -> SimMachine:
    """Run a machine with a function as its root task until nothing can run any more."""
    found = Machine(root, seed, others)
    found.run()
    return found


def start(env: Environment, name: str, fault: int = NULL, priority: int = 100) -> tuple[int, int]:
    """Start a program in a space of its own; the space and the thread."""
    system = env.system
    space = system.space_create(name, 4 * MIB, 0, NULL, 0, fault)
    argument = msgpack.packb([b"", {}, name])
    return space, system.thread_create(space, name, argument, priority)


def faults_of(env: Environment, name: str) -> list[Any]:
    """Start a program and wait for its fault message: fault, thread, detail."""
    endpoint = env.system.endpoint_create()
    start(env, name, endpoint)
    found: list[Any] = msgpack.unpackb(env.system.recv(endpoint, FOREVER)[2])
    return found


def crowd(said: list[int], size: int = 6) -> Main:
    """Threads of one priority that each say their number a few times."""

    def root(env: Environment) -> None:
        for number in range(size):

            def body(own: Environment, number: int = number) -> None:
                for _ in range(3):
                    own.clock()
                    said.append(number)

            env.thread(body, f"crowd{number}")
        env.sleep(1_000_000)

    return root


def test_same_seed_same_run() -> None:
    first: list[int] = []
    second: list[int] = []
    one, two = run(crowd(first), 7), run(crowd(second), 7)
    assert first == second and one.steps == two.steps
    assert one.kernel.trace.since(0, RING) == two.kernel.trace.since(0, RING)


def test_other_seeds_other_interleavings() -> None:
    runs = set()
    for seed in range(5):
        said: list[int] = []
        run(crowd(said), seed)
        assert sorted(said) == sorted(list(range(6)) * 3)
        runs.add(tuple(said))
    assert len(runs) == 5


def test_priorities_go_first() -> None:
    said: list[str] = []

    def root(env: Environment) -> None:
        for name, priority in (("low", 10), ("high", 90), ("middle", 50)):

            def body(own: Environment, name: str = name) -> None:
                for _ in range(3):
                    own.clock()
                    said.append(name)

            env.thread(body, name, priority)
        env.sleep(1_000_000)

    run(root)
    assert said == ["high"] * 3 + ["middle"] * 3 + ["low"] * 3


def test_priority_counts_from_the_moment_it_is_set() -> None:
    said: list[str] = []

    def root(env: Environment) -> None:
        def body(own: Environment) -> None:
            said.append("raised")

        env.thread(lambda own: said.append("first"), "first", 50)
        env.system.channel.register("raised", lambda channel, _: said.append("raised"))
        slow = env.system.thread_create(NULL, "raised", b"", 10)
        env.system.thread_control(slow, ThreadOp.PRIORITY, 60)
        env.sleep(1_000_000)

    run(root)
    assert said == ["raised", "first"]


def test_time_is_what_calls_cost() -> None:
    times: list[int] = []

    def root(env: Environment) -> None:
        times.append(env.clock())
        times.append(env.clock())

    run(root)
    assert times[1] - times[0] == CALL_COST


def test_time_jumps_to_the_next_deadline() -> None:
    def root(env: Environment) -> None:
        before = env.clock()
        env.sleep(10**15)
        assert 10**15 <= env.clock() - before < 10**15 + 10 * CALL_COST
        env.event().wait(10**12)
        assert env.clock() - before >= 10**15 + 10**12

    assert run(root).halted


def test_timeouts_end_while_others_are_busy() -> None:
    ended: list[int] = []

    def root(env: Environment) -> None:
        def busy(own: Environment) -> None:
            while not ended:
                own.clock()

        def sleeper(own: Environment) -> None:
            own.event().wait(50 * CALL_COST)
            own.sleep(50 * CALL_COST)
            ended.append(own.clock())

        env.thread(busy, "busy", 100)
        env.thread(sleeper, "sleeper", 150)
        env.sleep(10**9)

    assert run(root).halted and ended[0] < 200 * CALL_COST


def test_nobody_waits_for_the_end_of_time() -> None:
    def root(env: Environment) -> None:
        env.system.recv(env.system.endpoint_create(), (1 << 64) - 1)

    found = run(root)
    assert not found.halted and found.now < NEVER


def test_events_between_threads() -> None:
    def root(env: Environment) -> None:
        event = env.event()
        event.set()
        assert event.wait(0)
        assert not event.wait(1000)

        def body(own: Environment) -> None:
            own.sleep(10**6)
            event.set()

        env.thread(body, "setter")
        assert event.wait(None)

    assert run(root).halted


def test_suspended_thread_does_not_run() -> None:
    said: list[int] = []

    def root(env: Environment) -> None:
        def body(_channel: Any, _argument: bytes) -> None:
            said.append(1)

        env.system.channel.register("other", body)
        other = env.system.thread_create(NULL, "other", b"", 200)
        env.system.thread_control(other, ThreadOp.SUSPEND, 0)
        env.sleep(10**9)
        assert not said
        env.system.thread_control(other, ThreadOp.RESUME, 0)
        env.sleep(10**9)

    run(root)
    assert len(said) == 1


def limit(env: Environment, name: str, budget: int, period: int) -> None:
    """Start a program that may run so many microseconds in each period."""
    _, thread = start(env, name, priority=150)
    env.system.thread_control(thread, ThreadOp.BUDGET, budget << 32 | period)


def test_budget_is_exact_in_virtual_time() -> None:
    """Two threads with 5 us in 100 us make five calls in each period; others go on meanwhile."""
    times: list[int] = []

    def limited(env: Environment) -> None:
        env.thread(measure, "other", 150)
        measure(env)

    def measure(env: Environment) -> None:
        while len(times) < 80:
            times.append(env.clock())

    def root(env: Environment) -> None:
        limit(env, "limited", 5, 100)
        for _ in range(1000):
            env.clock()
        env.sleep(10**9)

    run(root, limited=limited)
    periods = sorted(at // 100_000 for at in times)[10:]
    counts = [periods.count(period) for period in sorted(set(periods))]
    assert set(counts[1:-1]) == {5}
    assert periods[-1] - periods[0] == len(set(periods)) - 1


def test_time_jumps_to_the_next_period_if_only_the_limited_could_run() -> None:
    took: list[int] = []

    def limited(env: Environment) -> None:
        before = env.clock()
        for _ in range(10):
            env.clock()
        took.append(env.clock() - before)

    def root(env: Environment) -> None:
        limit(env, "limited", 1, 1000)
        env.sleep(10**9)

    run(root, limited=limited)
    assert took[0] >= 9_000_000


def test_nobody_lifts_its_own_budget() -> None:
    def root(env: Environment) -> None:
        with pytest.raises(BadArgument):
            env.system.thread_control(NULL, ThreadOp.BUDGET, 0)

    run(root)


def test_run_by_steps_and_breakpoints() -> None:
    def root(env: Environment) -> None:
        for _ in range(10):
            env.clock()
        env.system.notification_create()
        env.clock()

    found = Machine(root)
    assert found.run(3) == 3 and found.steps == 3
    wanted = SPECS["notification_create"].number
    seen: list[Thread] = []

    def stop(thread: Thread, request: list[Any]) -> bool:
        if request[0] == wanted:
            seen.append(thread)
        return bool(request[0] == wanted)

    found.breakpoint = stop
    found.run()
    assert found.stopped and len(seen) == 1 and not found.halted
    found.run()
    assert found.halted and not found.stopped


def operator(found: SimMachine) -> Syscalls:
    """The operator's system calls."""
    from servers.runtime.sim import operator_channel

    return Syscalls(operator_channel(found.operator))


def test_operator_moves_the_system_while_it_waits() -> None:
    def root(env: Environment) -> None:
        reply = env.system.recv(env.slot("operator"), FOREVER)[-1]
        env.sleep(1000)
        env.system.reply(reply, 5, b"answer", [])

    found = Machine(root)
    calls = operator(found)
    assert calls.call(found.operator_slots["operator"], 0, b"", [], FOREVER) == (5, b"answer", [])
    rows, _ = calls.debug(found.operator_slots["debug"], DebugOp.THREADS, 0)
    assert len(msgpack.unpackb(rows)) >= 1


def test_deadlock_is_found() -> None:
    def root(env: Environment) -> None:
        env.system.wait(env.system.notification_create(), FOREVER)

    found = Machine(root)
    with pytest.raises(Deadlock, match="nothing in the system can run"):
        operator(found).call(found.operator_slots["operator"], 0, b"", [], FOREVER)


def test_operator_times_out_instead() -> None:
    found = Machine(lambda env: env.event().wait(None))
    with pytest.raises(TimedOut):
        operator(found).call(found.operator_slots["operator"], 0, b"", [], 10**12)
    assert found.now >= 10**12


def test_ends_of_programs_are_told() -> None:
    def malformed(env: Environment) -> None:
        env.system.exchange([SPECS["clock"].number, True])

    def exits(env: Environment) -> None:
        env.system.thread_exit(Fault.EXIT, "on purpose")

    def raises(env: Environment) -> None:
        raise ValueError("no \udcff")

    def root(env: Environment) -> None:
        assert faults_of(env, "malformed")[0] == Fault.MALFORMED
        assert faults_of(env, "exits")[::2] == [Fault.EXIT, "on purpose"]
        assert faults_of(env, "raises")[0] in (Fault.EXCEPTION, Fault.CRASHED)
        assert faults_of(env, "missing")[0] in (Fault.EXCEPTION, Fault.CRASHED)

    assert run(root, malformed=malformed, exits=exits, raises=raises).halted


def test_crash_of_the_program_itself_is_told() -> None:
    """What escapes a program that is not the runtime's."""

    class Broken:
        def run(self, entry: str, argument: bytes, channel: Any) -> None:
            raise RuntimeError("x" * 5000)

        def release(self, mapping: int) -> None: ...

    found = SimMachine(BootConfig("root", memory=64 * MIB), lambda name: Broken())
    found.run()
    events = [event for event in found.kernel.trace.since(0, RING) if event[2] == TraceEvent.FAULT]
    assert found.halted and events[0][5] == Fault.CRASHED


def test_killed_program_s_clean_up_does_not_reach_the_kernel() -> None:
    said: list[str] = []

    def victim(env: Environment) -> None:
        try:
            env.event().wait(None)
        finally:
            said.append("cleaning up")
            env.event().wait(None)
            env.clock()
            said.append("never")

    def root(env: Environment) -> None:
        space, _ = start(env, "victim")
        env.sleep(1000)
        env.system.space_destroy(space)
        env.sleep(1000)

    found = run(root, victim=victim)
    gc.collect()
    assert found.halted and "never" not in said


def test_event_of_a_thread_that_is_gone() -> None:
    def root(env: Environment) -> None:
        space, _ = start(env, "victim")
        env.sleep(1000)
        env.system.space_destroy(space)
        for event in events:
            event.set()
        env.sleep(1000)

    events: list[Any] = []

    def victim(env: Environment) -> None:
        events.append(env.event())
        events[0].wait(None)
        raise AssertionError("it runs after its end")

    assert run(root, victim=victim).halted


def test_memory_is_shared_and_taken_away() -> None:
    def root(env: Environment) -> None:
        frame = env.frame(8192)
        first, second = frame.map(), frame.map(writable=False)
        first.view[:5] = b"hello"
        assert bytes(second.view[:5]) == b"hello" and second.view.readonly
        with pytest.raises(TypeError):
            second.view[0] = 1
        lent = frame.mint(Right.READ)
        third = lent.map(writable=False)
        frame.revoke()
        assert len(third.view) == 0 and bytes(first.view[:5]) == b"hello"

    assert run(root).halted


def test_memory_that_the_host_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(machine, "mmap", refuse)

    def root(env: Environment) -> None:
        frame = env.frame(4096)
        with pytest.raises(NoDevice):
            frame.map()
        frame.drop()

    assert run(root).halted


def test_missing_device() -> None:
    def root(env: Environment) -> None:
        with pytest.raises(NoDevice):
            env.device("disk", writable=False)

    found = Machine(root, devices=[DeviceConfig("disk", "/does/not/exist")])
    found.run()
    assert found.halted


def test_interrupts_of_a_stream() -> None:
    heard: list[bytes] = []

    def root(env: Environment) -> None:
        device = env.device("terminal")
        assert device.size == 0
        notification = Notification(env.system, env.system.notification_create())
        device.bind(notification, 4)
        while not heard or heard[-1]:
            device.acknowledge()
            assert notification.wait() == 4
            heard.append(device.access.read(3))
        device.access.write(b"bye")

    found = Machine(root, devices=[DeviceConfig("terminal", writable=True, stream=True)])
    terminal = found.devices["terminal"]
    found.run()
    assert not heard  # nothing was typed yet
    terminal.feed(b"hello")
    found.run()
    terminal.feed(b"")
    found.run()
    assert heard == [b"hel", b"lo", b""] and bytes(terminal.output) == b"bye" and found.halted


def test_error_numbers_are_the_table_s() -> None:
    """What the machine answers on its own account is listed for those calls."""
    assert Error.NO_DEVICE in SPECS["map"].errors and Error.NO_DEVICE in SPECS["device_map"].errors
