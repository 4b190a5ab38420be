"""The console server: who is seen, and what stays when something dies."""

from __future__ import annotations

import pytest

from servers.console.interface import SCROLLBACK, Console, ConsoleControl
from servers.console.main import Screen
from servers.runtime import Environment
from tests.support.consoles import GUEST, SECOND, TOOL, Attention, run_tool, system
from tests.support.simulation import Simulation, Supervision


def test_only_the_focused_console_is_seen_and_nothing_is_forgotten() -> None:
    @run_tool()
    def _(sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        screen = sim.memory("terminal-out")
        own.write(b"before ")
        assert screen.output == b""
        attention = Attention(env, "tool", replay=4)
        assert screen.output == b"ore "
        own.write(b"during ")
        control.release()
        assert screen.output == b"ore during "  # shown when release returns
        assert attention.outcome() == "released"
        own.write(b"after")
        env.sleep(SECOND)
        assert screen.output == b"ore during "
        assert control.tail("tool", 100) == b"before during after"
        assert control.tail("tool", 5) == b"after"
        assert control.tail("tool", 0) == b""
        [info] = control.consoles()
        assert (info.name, info.focused, info.written, info.waiting) == ("tool", False, 19, 0)
        assert control.tail("nobody", 1) == b""


def test_each_client_has_its_own_console() -> None:
    sim = system()

    def guest(env: Environment) -> None:
        env.open(Console, "console").write(env.name.encode())

    for name in ("one", "two"):
        sim.process(name, guest, holds=GUEST, client=True)

    @sim.client(TOOL)
    def tool(env: Environment) -> None:
        env.sleep(SECOND)
        control = env.open(ConsoleControl, "control")
        assert {info.name for info in control.consoles()} == {"one", "two"}
        assert control.tail("one", 9) == b"one" and control.tail("two", 9) == b"two"

    sim.run()


def test_scrollback_is_bounded() -> None:
    @run_tool()
    def _(_sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        for number in range(SCROLLBACK * 3 // 32768):
            own.write(bytes([number]) * 32768)
        assert control.consoles()[0].written == SCROLLBACK * 3
        assert control.tail("tool", 1 << 40)[-32768:] == bytes([23]) * 32768
        attention = Attention(env, "tool", replay=1 << 40)
        control.release()
        assert len(_sim.memory("terminal-out").output) == SCROLLBACK
        assert attention.outcome() == "released"


def test_what_is_kept_takes_a_bounded_amount_of_memory() -> None:
    screen = Screen("guest")
    for _ in range(1000):
        screen.keep(bytes(1000))
        assert len(screen._kept) <= 2 * SCROLLBACK


def test_output_that_a_dying_driver_had_is_shown_by_the_next() -> None:
    @run_tool()
    def _(sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        supervisor = env.open(Supervision, "supervisor")
        screen = sim.memory("terminal-out")
        plain = screen.write
        Attention(env, "tool")

        def stuck(_data: bytes) -> int:
            raise BlockingIOError(11, "try again")

        screen.write = stuck  # type: ignore
        own.write(b"precious")
        env.sleep(SECOND)
        supervisor.kill("terminal")
        screen.write = plain  # type: ignore[method-assign]
        supervisor.start("terminal")
        control.release()
        assert screen.output == b"precious"


def test_a_slow_terminal_slows_the_writer_and_loses_nothing() -> None:
    @run_tool()
    def _(sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        screen = sim.memory("terminal-out")
        expected = b""
        Attention(env, "tool")
        plain, turn = screen.write, [0]

        def write(data: bytes) -> int:
            turn[0] += 1
            if turn[0] % 2:
                raise BlockingIOError(11, "try again")
            return plain(data[:5000])

        screen.write = write  # type: ignore[method-assign]
        for number in range(40):
            data = bytes([number]) * 20000
            own.write(data)
            expected += data
        control.release()
        assert screen.output == expected


@pytest.mark.parametrize("seed", range(10))
def test_the_terminal_driver_may_be_replaced(seed: int) -> None:
    @run_tool(seed)
    def _(sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        supervisor = env.open(Supervision, "supervisor")
        attention = Attention(env, "tool")
        for number in range(5):
            supervisor.kill("terminal")
            own.write(b"line %d\n" % number)
            sim.memory("terminal-in").feed(b"%d" % number)
            env.sleep((seed * 7 + number) * 1000)
            supervisor.start("terminal")
            env.sleep(SECOND)
        assert own.read(100) == b"01234"
        control.release()
        output = bytes(sim.memory("terminal-out").output)
        assert [line in output for line in (b"line 0", b"line 4")] == [True, True]
        assert attention.outcome() == "released"


@pytest.mark.parametrize("seed", range(5))
def test_a_guest_that_dies_does_not_disturb(seed: int) -> None:
    sim = system(seed)

    def guest(env: Environment) -> None:
        own = env.open(Console, "console")
        word = env.notification()
        own.attach(word)
        while True:
            own.write(b"*" * 30_000)

    sim.process("guest", guest, holds=GUEST)

    @sim.client(TOOL)
    def tool(env: Environment) -> None:
        control = env.open(ConsoleControl, "control")
        attention = Attention(env, "guest", settle=2_000_000)
        env.open(Supervision, "supervisor").kill("guest")
        control.type("guest", b"to nobody")
        sim.memory("terminal-in").feed(b"x\x1d")
        assert attention.outcome() == "escape"

    sim.run()
    assert not sim.processes["console"].ends


def test_the_same_seed_gives_the_same_run() -> None:
    def trace(seed: int) -> list[tuple[int, ...]]:
        sim = system(seed)

        def guest(env: Environment) -> None:
            for _ in range(5):
                env.open(Console, "console").write(b"hello")

        for name in ("one", "two"):
            sim.process(name, guest, holds=GUEST, client=True)

        @sim.client(TOOL)
        def tool(env: Environment) -> None:
            attention = Attention(env, "one")
            sim.memory("terminal-in").feed(b"x\x1d")
            assert attention.outcome() == "escape"

        sim.run()
        return sim.trace()

    assert trace(3) == trace(3)
    assert len({tuple(trace(seed)) for seed in range(5)}) > 1
