"""Typing: who gets it, how the person gets out, and that none is lost."""

from __future__ import annotations

import pytest

from servers.console.interface import Console, ConsoleControl
from servers.console.main import QUEUE, UNSHOWN
from servers.runtime import Busy, Environment, Right, TimedOut
from tests.support.consoles import SECOND, Attention, run_tool
from tests.support.simulation import Simulation


def test_typing_reaches_the_focused_console_until_control_right_bracket() -> None:
    @run_tool()
    def _(sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        keys = sim.memory("terminal-in")
        keys.feed(b"early ")
        env.sleep(SECOND)
        assert keys.input == b"early "  # left to the tools
        attention = Attention(env, "tool")
        word = env.notification()
        own.attach(word)
        assert word.wait(SECOND)  # it was typed before the guest attached
        assert own.read(3) == b"ear" and own.read(100) == b"ly " and own.read(100) == b""
        keys.feed(b"abc\x1drest")
        assert attention.outcome() == "escape"
        assert word.wait(SECOND) and own.read(100) == b"abc"
        keys.feed(b"for the shell")
        env.sleep(SECOND)
        assert keys.input == b"for the shell"
        again = Attention(env, "tool")
        assert own.read(100) == b"restfor the shell"
        control.release()
        assert again.outcome() == "released"


def test_the_escape_comes_through_when_the_terminal_takes_no_output() -> None:
    @run_tool()
    def _(sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        screen = sim.memory("terminal-out")
        plain, taking = screen.write, [False]

        def write(data: bytes) -> int:
            if not taking[0]:
                raise BlockingIOError(11, "try again")
            return plain(data)

        screen.write = write  # type: ignore[method-assign]
        attention = Attention(env, "tool")
        impatient = env.open(Console, "console", timeout=SECOND)
        with pytest.raises(TimedOut):
            for _ in range(2 + UNSHOWN // 32768 + 2):
                impatient.write(bytes(32768))
        assert control.consoles()[0].focused  # others are served meanwhile
        assert attention.outcome() == "still has it"
        sim.memory("terminal-in").feed(b"\x1d")
        assert attention.outcome() == "escape"
        own.write(b"not seen")
        taking[0] = True
        control.release()
        assert len(screen.output) <= 32768  # the rest was not wanted any more


def test_a_console_that_does_not_read_stops_the_typing_and_nothing_is_lost() -> None:
    @run_tool()
    def _(sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        keys = sim.memory("terminal-in")
        typed = bytes(range(20)) * 10_000
        keys.feed(typed)
        attention = Attention(env, "tool")
        waiting = control.consoles()[0].waiting
        assert QUEUE <= waiting < QUEUE + 4096
        assert len(keys.input) == len(typed) - waiting
        word = env.notification()
        own.attach(word)
        found = b""
        while len(found) < len(typed):
            word.wait(SECOND)
            while more := own.read(5000):
                found += more
        assert found == typed
        control.release()
        assert attention.outcome() == "released"


def test_the_end_of_the_input() -> None:
    @run_tool()
    def _(sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        keys = sim.memory("terminal-in")
        keys.feed(b"last words")
        keys.feed(b"")
        done = env.notification()
        control.show("tool", 0, done)
        with pytest.raises(TimedOut):
            done.wait(SECOND)
        assert own.read(100) == b"last words"
        own.write(b"still seen")
        again = env.notification()
        control.show("tool", 0, again, ends=True)
        assert done.poll() and again.wait(SECOND)
        assert sim.memory("terminal-out").output == b"still seen"
        assert control.focus("tool", 5) == "input ended"
        control.release()
        assert sim.memory("terminal-out").output == b"still seen seen"


def test_another_focus_takes_the_terminal() -> None:
    @run_tool()
    def _(sim: Simulation, env: Environment) -> None:
        control = env.open(ConsoleControl, "control")
        first = Attention(env, "tool")
        second = Attention(env, "other")
        assert first.outcome() == "released"
        sim.memory("terminal-in").feed(b"x")
        env.sleep(SECOND)
        waiting = {info.name: (info.focused, info.waiting) for info in control.consoles()}
        assert waiting == {"tool": (False, 0), "other": (True, 1)}
        control.release()
        assert second.outcome() == "released"
        control.release()


def test_tools_type_for_a_console() -> None:
    @run_tool()
    def _(_sim: Simulation, env: Environment) -> None:
        own, control = env.open(Console, "console"), env.open(ConsoleControl, "control")
        word = env.notification()
        own.attach(word)
        control.type("tool", b"root\x1d\n")
        assert word.wait(SECOND) and own.read(100) == b"root\n"
        with pytest.raises(Busy, match="bytes of input waiting"):
            for _ in range(100):
                control.type("tool", bytes(30_000))
        word.revoke()
        second = env.notification()
        own.attach(second.mint(Right.SEND | Right.GRANT))
        assert second.wait(SECOND)
        second.revoke()
        control.type("tool", b"y")  # a signal that goes nowhere does no harm
