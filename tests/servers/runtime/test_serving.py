"""Serving: answers that come later, sessions, offers, notifications, threads."""

from __future__ import annotations

from typing import Any

import pytest

from servers.runtime import (
    BadRequest,
    Environment,
    Interface,
    NotFound,
    Notification,
    Right,
    ServiceError,
    TimedOut,
    endpoint_of,
)
from tests.support.echo import HOLDS, SECOND, Echo, system
from tests.support.simulation import Simulation


def test_answers_that_come_later() -> None:
    sim = system()
    answers: list[object] = []

    def waiting(env: Environment) -> None:
        number = int(env.name)
        try:
            answers.append(env.open(Echo, "echo").later(number))
        except ServiceError as error:
            answers.append(error)

    for number in (1, 2, 666, 777):
        sim.process(str(number), waiting, holds=HOLDS, client=True)

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        impatient = env.open(Echo, "echo", timeout=SECOND)
        with pytest.raises(TimedOut):
            impatient.later(3)
        env.sleep(SECOND)
        assert not answers
        assert impatient.now() == 5  # the one that gave up does no harm

    sim.run()
    found = sorted(answers, key=str)
    assert found[:2] == [1, 2]
    assert sorted(type(error).__name__ for error in found[2:]) == ["Busy", "Failed"]


def test_sessions_lead_to_their_own_objects() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        echo = env.open(Echo, "echo")
        one = env.client(Echo, echo.session("one "))
        two = env.client(Echo, echo.session("two "))
        assert one.several(1) == "one 1 b False"
        assert two.several(2) == "two 2 b False"
        assert env.client(Echo, endpoint_of(two)).several(3) == "two 3 b False"
        echo.close()
        with pytest.raises(BadRequest, match="session was closed"):
            one.several(1)
        assert echo.several(1) == "1 b False"

    sim.run()


def test_a_process_has_several_offers() -> None:
    class Name(Interface):
        def who(self) -> tuple[str, str]: ...

    class Service(Name):
        def __init__(self, env: Environment, offer: str) -> None:
            self._env, self._offer = env, offer

        def who(self) -> tuple[str, str]:
            return self._offer, self._env.caller

    def both(env: Environment) -> None:
        env.server({offer: Service(env, offer) for offer in ("left", "right")}).run()

    sim = Simulation()
    sim.process("both", both, ["left", "right"])

    def ask(env: Environment) -> None:
        assert env.open(Name, "a").who() == ("left", env.name)
        assert env.open(Name, "b").who() == ("right", env.name)
        with pytest.raises(NotFound, match="holds no capability named 'c'"):
            env.open(Name, "c")

    for name in ("one", "two"):
        sim.process(name, ask, holds={"a": "both.left", "b": "both.right"}, client=True)
    sim.run()


def test_a_server_hears_its_notification_while_it_serves() -> None:
    class Bell(Interface):
        def bell(self) -> Notification: ...
        def heard(self) -> list[int]: ...

    class Service(Bell):
        def __init__(self, env: Environment) -> None:
            self.word = env.listen()
            self.bits: list[int] = []

        def bell(self) -> Notification:
            return self.word.mint(Right.SEND | Right.GRANT, 4)

        def heard(self) -> list[int]:
            return self.bits

    def ringer(env: Environment) -> None:
        service = Service(env)
        env.serve(service, "bell", service.bits.append)

    sim = Simulation()
    sim.process("ringer", ringer, ["bell"])

    @sim.client({"bell": "ringer.bell"})
    def client(env: Environment) -> None:
        service = env.open(Bell, "bell")
        bell = service.bell()
        bell.signal(255)  # the badge is what counts
        env.sleep(SECOND)
        bell.signal()
        assert service.heard() in ([4], [4, 4])
        assert service.heard() == [4, 4]

    sim.run()


def test_threads_and_events() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        found: list[str] = []
        done = [env.event() for _ in range(3)]

        def worker(number: int) -> Any:
            def run(own: Environment) -> None:
                assert own.name == "client"
                own.sleep((3 - number) * SECOND)
                found.append(own.open(Echo, "echo").text(str(number)))
                done[number].set()

            return run

        start = env.clock()
        for number in range(3):
            env.thread(worker(number), "worker")
        assert not done[2].wait(SECOND // 2)
        assert done[2].wait(None) and done[1].wait(None) and done[0].wait(SECOND * 9)
        assert found == ["2", "1", "0"]
        assert 3 * SECOND <= env.clock() - start < 3 * SECOND + SECOND // 2
        assert not done[0].wait(0)  # waiting clears it
        done[0].set()
        assert done[0].wait(0)

    sim.run()


def test_a_thread_that_fails_ends_its_process() -> None:
    sim = Simulation()

    def broken(env: Environment) -> None:
        def run(_own: Environment) -> None:
            raise ValueError("out of sorts")

        env.thread(run, "broken")
        env.notification().wait()

    sim.process("broken", broken)
    sim.settle()
    [end] = sim.processes["broken"].ends
    assert "ValueError: out of sorts" in end and "test_serving.py" in end


def test_a_capability_that_is_taken_back_ends_no_server() -> None:
    """A server may answer with what a client lent it, and that may be gone by then."""

    class Lender(Interface):
        def back(self, word: Notification) -> Notification: ...

    class Lending(Lender):
        def back(self, word: Notification) -> Notification:
            word.drop()
            return word
    sim = Simulation()
    sim.process("lender", lambda env: env.serve(Lending(), "lender"), ["lender"])

    @sim.client({"lender": "lender.lender"})
    def client(env: Environment) -> None:
        lender = env.open(Lender, "lender", timeout=SECOND)
        for _ in range(2):
            with pytest.raises(ServiceError, match="taken back"):
                lender.back(env.notification())

    sim.run()
