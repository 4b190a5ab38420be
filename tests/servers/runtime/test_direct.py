"""Direct calls: links that are cut, servers that do not allow them, answers that make no sense."""

from __future__ import annotations

import pytest

from kernel.abi import Right
from servers.runtime import Environment, Failed, Interface, ServerDied
from servers.runtime.direct import CONNECT, Links
from tests.support.echo import HOLDS, SECOND, Echo, system
from tests.support.simulation import Simulation


class Adder(Interface):
    """Adds."""

    def add(self, one: int, two: int) -> int: ...

    def who(self) -> str: ...


class Adding(Adder):
    def __init__(self, env: Environment) -> None:
        self._env = env

    def add(self, one: int, two: int) -> int:
        return one + two

    def who(self) -> str:
        return self._env.caller


def world() -> Simulation:
    sim = Simulation()
    sim.process("adder", lambda env: env.serve(Adding(env), "adder", direct=Adding), ["adder"])
    return sim


ADDER = {"adder": "adder.adder"}


def test_a_service_knows_who_calls_over_a_link() -> None:
    sim = world()

    @sim.client(ADDER)
    def client(env: Environment) -> None:
        direct = env.open(Adder, "adder", direct=True)
        assert direct.add(2, two=3) == 5
        assert direct.who() == env.open(Adder, "adder").who() == "client"

    sim.run()


def test_messages_pass_the_kernel_by() -> None:
    sim = world()
    calls: list[int] = []

    @sim.client(ADDER)
    def client(env: Environment) -> None:
        direct = env.open(Adder, "adder", direct=True)
        direct.add(1, 1)
        calls.append(sim.machine.kernel.trace.sequence)
        for number in range(10):
            assert direct.add(number, 1) == number + 1
        calls.append(sim.machine.kernel.trace.sequence)

    sim.run()
    assert calls[0] == calls[1]


def test_a_server_that_does_not_allow_it_says_so() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        with pytest.raises(Exception, match="has no method"):
            env.open(Echo, "echo", direct=True).now()

    sim.run()


def test_a_link_that_is_taken_back_is_cut_in_the_middle() -> None:
    sim = Simulation()
    links: list[Links] = []

    class Slow(Adding):
        def add(self, one: int, two: int) -> int:
            for link in self._env.config(list[int]) or [one]:
                self._env.system.cap_revoke(link)
            return 0

    def main(env: Environment) -> None:
        server = env.server({"adder": Adding(env)})
        made = Links(env, Slow)
        links.append(made)
        from servers.runtime.direct import CONNECTING

        server.special[CONNECT] = (CONNECTING, made.open)
        server.run()

    sim.process("adder", main, ["adder"], config=[])

    @sim.client(ADDER)
    def client(env: Environment) -> None:
        direct = env.open(Adder, "adder", timeout=SECOND, direct=True)
        link = next(iter(links[0]._links.values()), 0) or _first(direct, links[0])
        with pytest.raises(ServerDied):
            direct.add(link, 0)

    sim.run()


def _first(direct: Adder, links: Links) -> int:
    """Have the link made; the server's capability to it."""
    direct.who()
    return next(iter(links._links.values()))


def test_an_evil_server_is_an_error() -> None:
    sim = Simulation()

    def main(env: Environment) -> None:
        slot = env.slot("adder")
        reply = env.system.recv(slot, -1)[4]
        link = env.system.link_create()
        end = env.system.channel.link(env.system.link_open(link, Right.RECEIVE))
        given = env.system.cap_mint(link, Right.SEND | Right.GRANT, 0, 0)
        env.system.reply(reply, 0, b"\x00", [given])
        for answer in (b"\xc1", b"\xc1\x92\x01\x02", b"\xa1x", b"\x93"):
            assert end.receive()
            end.send(answer)
        env.system.recv(slot, -1)

    sim.process("adder", main, ["adder"])

    @sim.client(ADDER)
    def client(env: Environment) -> None:
        direct = env.open(Adder, "adder", direct=True)
        for _ in range(4):
            with pytest.raises(Failed, match="does not fit the interface"):
                direct.add(1, 2)

    sim.run()


def test_nonsense_over_a_link_ends_it_and_nothing_else() -> None:
    sim = world()

    @sim.client(ADDER)
    def client(env: Environment) -> None:
        good = env.open(Adder, "adder")
        for nonsense in (b"\xff", b"\x02\x90", b"\x00"):
            direct = env.open(Adder, "adder", direct=True)
            assert direct.add(1, 2) == 3
            end = direct._line._end  # type: ignore[attr-defined]
            end.send(nonsense)
            answer = end.receive()
            assert not answer or answer.startswith(b"\xc1")
            assert good.add(1, 2) == 3

    sim.run()


def test_links_leave_nothing_behind() -> None:
    sim = world()
    counts: list[int] = []

    @sim.client(ADDER)
    def client(env: Environment) -> None:
        for _ in range(5):
            direct = env.open(Adder, "adder", direct=True)
            assert direct.add(1, 2) == 3
            env.sleep(SECOND)
            spaces = sim.machine.kernel.spaces.values()
            counts.append(next(len(s.threads) for s in spaces if s.name == "adder"))

    sim.run()
    assert set(counts) == {2}
