"""Every interleaving of small configurations: each order in which threads, time and machine move.

A configuration is a few threads, each with a short program.  Whoever is not blocked may move next;
so may time, to the next deadline, and the machine, with what it has to confirm.  Every order is
tried by running it from the start; the laws of the walk hold after each step, and at the end nobody
who set a limit is left waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from kernel.abi import NULL, Right, ThreadOp, ThreadState
from kernel.endpoint import Reply
from kernel.frame import Frame
from kernel.machine.sim.machine import next_deadline
from tools.check.harness import FULL, Actor, World
from tools.check.walk import History

Step = Callable[[], object]
LIMIT = 50
"""The timeout of those who must not be left waiting."""


class Run:
    """A configuration on its way."""

    def __init__(self) -> None:
        self.world = World(prompt=False)
        self.history = History(self.world)
        self.programs: list[tuple[Actor, list[Step]]] = []

    def program(self, actor: Actor, *steps: Step) -> None:
        self.programs.append((actor, list(steps)))

    def moves(self) -> list[Step]:
        """All that can happen next."""
        world = self.world
        found: list[Step] = [
            partial(self._move, steps)
            for actor, steps in self.programs
            if steps and actor.thread.state is ThreadState.RUNNING and actor.thread.held is None
        ]
        due = next_deadline(world.kernel)
        if due is not None:
            found.append(partial(world.advance, due - world.now))
        if world.killed or world.unmaps:
            found.append(world.confirm)
        return found

    def _move(self, steps: list[Step]) -> None:
        steps.pop(0)()

    def check_end(self) -> None:
        """Everybody set a limit or asked what must end: nobody is left waiting."""
        for actor, _ in self.programs:
            assert actor.thread.state in (ThreadState.RUNNING, ThreadState.DEAD), "left waiting"
            assert actor.thread not in self.world.calls, "a call without an answer"

    # What programs are made of

    def call(self, actor: Actor, slot: int, *caps: int) -> Step:
        data = self.history.payload(actor.thread)
        return lambda: actor.request("call", slot, 0, data, list(caps), LIMIT)

    def reply(self, actor: Actor) -> Step:
        """Answer whoever is waiting for this server, if anybody is."""
        data = self.history.payload(actor.thread)

        def step() -> None:
            replies = [s for s, cap in actor.space.caps.items() if isinstance(cap.object, Reply)]
            actor.request("reply", replies[0] if replies else NULL, 0, data, [])

        return step

    def receive(self, actor: Actor, slot: int) -> Step:
        return lambda: actor.request("recv", slot, LIMIT)

    def serve(self, actor: Actor, slot: int, times: int) -> None:
        """Have the actor receive and answer so many times."""
        steps = [
            step for _ in range(times) for step in (self.receive(actor, slot), self.reply(actor))
        ]
        self.program(actor, *steps)

    def map(self, actor: Actor) -> Step:
        """Map the first frame that the actor holds, if any."""

        def step() -> None:
            frames = [s for s, cap in actor.space.caps.items() if isinstance(cap.object, Frame)]
            actor.request("map", frames[0] if frames else NULL, Right.READ)

        return step

    def ask(self, actor: Actor, name: str, *arguments: int) -> Step:
        return lambda: actor.request(name, *arguments)

    def revoke(self, actor: Actor, slot: int) -> Step:
        def step() -> None:
            self.history.revoking(actor.thread, actor.space.caps[slot])
            actor.request("cap_revoke", slot)

        return step


def explore(build: Callable[[], Run]) -> int:
    """Try every order, each by running it from the start; how many there are."""
    orders = 0
    choices: list[int] = []
    while True:
        run, widths = build(), list[int]()
        run.history.remember()
        while moves := run.moves():
            if len(widths) == len(choices):
                choices.append(0)
            widths.append(len(moves))
            moves[choices[len(widths) - 1]]()
            run.history.check()
        orders += 1
        run.check_end()
        while choices and choices[-1] + 1 == widths[len(choices) - 1]:
            choices.pop()
        if not choices:
            return orders
        choices[-1] += 1


def server_is_destroyed() -> Run:
    run = Run()
    init = run.world.init
    server, client = init.child("server"), init.child("client")
    endpoint = init.endpoint()
    receive = init.mint(endpoint, FULL, 0, server)
    send = init.mint(endpoint, Right.SEND, 0, client)
    run.program(client, run.call(client, send), run.call(client, send))
    run.serve(server, receive, 2)
    run.program(init, run.ask(init, "space_destroy", server.slot))
    return run


def client_is_destroyed_while_it_passes_a_frame() -> Run:
    run = Run()
    init = run.world.init
    server, client = init.child("server"), init.child("client")
    endpoint = init.endpoint()
    receive = init.mint(endpoint, FULL, 0, server)
    send = init.mint(endpoint, Right.SEND, 0, client)
    frame = client.frame()
    run.program(client, run.map(client), run.call(client, send, frame), run.call(client, send))
    run.program(server, run.receive(server, receive), run.map(server), run.reply(server))
    run.program(init, run.ask(init, "space_destroy", client.slot))
    return run


def frame_is_revoked_while_it_is_passed_on() -> Run:
    run = Run()
    init = run.world.init
    server, client = init.child("server"), init.child("client")
    endpoint, frame = init.endpoint(), init.frame()
    receive = init.mint(endpoint, FULL, 0, server)
    send = init.mint(endpoint, Right.SEND, 0, client)
    given = init.mint(frame, FULL, 0, client)
    run.program(client, run.map(client), run.call(client, send, given))
    run.program(server, run.receive(server, receive), run.map(server), run.reply(server))
    run.program(init, run.revoke(init, frame))
    return run


def labels_part_during_a_call() -> Run:
    run = Run()
    init = run.world.init
    for first, second in ((0, 1), (0, 2), (1, 2)):
        init.allow(first, second)
    server, client = init.child("server", label=1), init.child("client", label=2)
    endpoint = init.endpoint()
    receive = init.mint(endpoint, Right.RECEIVE, 0, server)
    send = init.mint(endpoint, Right.SEND, 0, client)
    run.program(client, run.call(client, send), run.call(client, send))
    run.serve(server, receive, 2)
    run.program(init, run.ask(init, "label_allow", run.world.policy, 1, 2, 0))
    return run


def caller_is_suspended_for_a_while() -> Run:
    run = Run()
    init = run.world.init
    server, client = init.child("server"), init.child("client")
    endpoint = init.endpoint()
    receive = init.mint(endpoint, FULL, 0, server)
    send = init.mint(endpoint, Right.SEND, 0, client)
    control = client.control
    run.program(client, run.call(client, send), run.call(client, send))
    run.serve(server, receive, 2)
    run.program(
        init,
        run.ask(init, "thread_control", control, ThreadOp.SUSPEND, 0),
        run.ask(init, "thread_control", control, ThreadOp.RESUME, 0),
    )
    return run


def two_clients_and_an_endpoint_that_is_revoked() -> Run:
    run = Run()
    init = run.world.init
    server, one, two = init.child("server"), init.child("one"), init.child("two")
    endpoint = init.endpoint()
    receive = init.mint(endpoint, FULL, 0, server)
    for client in (one, two):
        run.program(client, run.call(client, init.mint(endpoint, Right.SEND, 0, client)))
    run.serve(server, receive, 2)
    run.program(init, run.revoke(init, endpoint))
    return run


@pytest.mark.parametrize(
    ("build", "least"),
    [
        (server_is_destroyed, 500),
        (client_is_destroyed_while_it_passes_a_frame, 500),
        (frame_is_revoked_while_it_is_passed_on, 400),
        (labels_part_during_a_call, 800),
        (caller_is_suspended_for_a_while, 3000),
        (two_clients_and_an_endpoint_that_is_revoked, 1000),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_every_order(build: Callable[[], Run], least: int) -> None:
    assert explore(build) >= least
