"""A console server with a terminal in memory, and somebody who attends to a console."""

from __future__ import annotations

from collections.abc import Callable

from drivers.terminal.main import main as terminal
from servers.console.interface import ConsoleControl
from servers.console.main import main as console
from servers.runtime import Environment, with_system
from tests.support.simulation import Simulation

SECOND = 10**9

GUEST = {"console": "console.console"}

TOOL = {"control": "console.control", "console": "console.console"}


def system(seed: int = 0) -> Simulation:
    sim = Simulation(seed)
    sim.device("terminal-in")
    sim.device("terminal-out")
    devices = {name: f"device:{name}" for name in ("terminal-in", "terminal-out")}
    sim.process("terminal", terminal, ["terminal"], devices)
    holds = {"terminal": "terminal.terminal"}
    sim.process("console", console, ["console", "control"], holds)
    return sim


class Attention:
    """Somebody who focuses a console, in a thread of its own."""

    def __init__(self, env: Environment, name: str, replay: int = 0, settle: int = SECOND) -> None:
        self._over = env.event()
        self._answers: list[str] = []
        service = env.open(ConsoleControl, "control")

        def run(own: Environment) -> None:
            self._answers.append(with_system(service, own.system).focus(name, replay))
            self._over.set()

        env.thread(run, "attention")
        env.sleep(settle)

    def outcome(self) -> str:
        """How the terminal was given back, or "still has it"."""
        self._over.wait(SECOND)
        return self._answers[0] if self._answers else "still has it"


def run_tool(seed: int = 0) -> Callable[[Callable[[Simulation, Environment], None]], None]:
    """Run the decorated function as a tool of a fresh system."""

    def decorate(body: Callable[[Simulation, Environment], None]) -> None:
        sim = system(seed)

        def tool(env: Environment) -> None:
            body(sim, env)

        sim.process("tool", tool, holds=TOOL, client=True)
        sim.run()

    return decorate
