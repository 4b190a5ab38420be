"""The terminal driver on terminals of every kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drivers.terminal.interface import Input, Terminal
from drivers.terminal.main import main as terminal
from servers.runtime import Environment, Failed, ServerDied, TimedOut
from tests.support.simulation import Simulation, Supervision

SECOND = 10**9
HOLDS = {"terminal": "terminal.terminal"}


def system(path: str | None = None, fd: int | None = None, seed: int = 0) -> Simulation:
    sim = Simulation(seed)
    sim.device("terminal-in", path=path, fd=fd, writable=False)
    sim.device("terminal-out")
    devices = {name: f"device:{name}" for name in ("terminal-in", "terminal-out")}
    sim.process("terminal", terminal, ["terminal"], devices)
    return sim


def test_input_waits_until_somebody_reads_and_listens() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        device = sim.memory("terminal-in")
        found = env.open(Terminal, "terminal")
        device.feed(b"one")
        assert found.read() == Input(b"", False)  # nobody listens
        assert device.input == b"one"
        found.listen(True)
        env.sleep(SECOND)
        assert device.input == b"one"  # listening alone takes nothing
        assert found.read() == Input(b"one", False)
        impatient = env.open(Terminal, "terminal", timeout=SECOND)
        with pytest.raises(TimedOut):
            impatient.read()
        found.listen(False)
        device.feed(b"two")
        env.sleep(SECOND)
        assert device.input == b"two"

    sim.run()


def test_leaving_answers_whoever_waits() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        found = env.open(Terminal, "terminal")
        found.listen(True)
        answers: list[Input] = []
        over = env.event()

        def reader(own: Environment) -> None:
            answers.append(own.open(Terminal, "terminal").read())
            over.set()

        env.thread(reader, "reader")
        assert not over.wait(SECOND)
        found.listen(False)
        assert over.wait(SECOND)
        assert answers == [Input(b"", False)]

    sim.run()


@pytest.mark.parametrize("kind", ["null", "file", "pipe"])
def test_input_that_ends(kind: str, tmp_path: Path) -> None:
    path: str | None = "/dev/null"
    content = b"" if kind == "null" else bytes(range(256)) * 40
    reader = None
    if kind == "file":
        path = str(tmp_path / "typed")
        Path(path).write_bytes(content)
    elif kind == "pipe":
        path = None
        reader, writer = os.pipe()
        os.write(writer, content)
        os.close(writer)
    sim = system(path, reader)

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        found = env.open(Terminal, "terminal")
        found.listen(True)
        data = b""
        while not (more := found.read()).ended:
            data += more.data
        assert data == content
        assert found.read().ended

    sim.run()


def test_output_is_whole_even_if_the_terminal_takes_little() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        device = sim.memory("terminal-out")
        turns = iter(range(1000))

        def write(data: bytes) -> int:
            if next(turns) % 3 == 0:
                raise BlockingIOError(11, "try again")
            device.output += data[:7]
            return len(data[:7])

        device.write = write  # type: ignore[method-assign]
        found = env.open(Terminal, "terminal")
        found.write(b"0123456789" * 20)
        assert device.output == b"0123456789" * 20

    sim.run()


def test_a_closed_terminal_is_said_to_be_closed() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        def write(_data: bytes) -> int:
            raise BrokenPipeError(32, "Broken pipe")

        sim.memory("terminal-out").write = write  # type: ignore
        with pytest.raises(Failed, match="takes no output: Broken pipe"):
            env.open(Terminal, "terminal").write(b"x")

    sim.run()


@pytest.mark.parametrize("seed", range(5))
def test_the_next_driver_goes_on(seed: int) -> None:
    sim = system(seed=seed)

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        found = env.open(Terminal, "terminal")
        found.listen(True)
        died: list[bool] = []
        over = env.event()

        def reader(own: Environment) -> None:
            try:
                own.open(Terminal, "terminal").read()
            except ServerDied:
                died.append(True)
            over.set()

        env.thread(reader, "reader")
        env.sleep(SECOND)
        supervisor = env.open(Supervision, "supervisor")
        supervisor.kill("terminal")
        assert over.wait(SECOND) and died
        sim.memory("terminal-in").feed(b"kept")
        supervisor.start("terminal")
        assert found.read() == Input(b"", False)
        found.listen(True)
        assert found.read() == Input(b"kept", False)

    sim.run()
