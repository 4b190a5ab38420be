"""The small worlds that are explored.

Each is a function that sets a world up: spaces, capabilities, scripts of up to six calls for two
or three threads.  What the machine confirms comes in any order with them, and so do timeouts,
interrupts and, where ``crashes`` names a space, its death.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from kernel.abi import (
    CAPABILITY_COST,
    FOREVER,
    LINK_COST,
    NULL,
    OBJECT_COST,
    PAGE_SIZE,
    Fault,
    Right,
    ThreadOp,
)
from kernel.kernel import Device
from kernel.machine.config import give
from tools.check.model import Actor, V, World, step

ALL: Final = 47
"""The rights of a new endpoint, notification, frame or link."""
SEND: Final = int(Right.SEND | Right.GRANT)
READ: Final = int(Right.READ | Right.GRANT)
BOTH: Final = int(Right.READ | Right.WRITE)
LIMIT: Final = 10
_CALLED: Final = "badge label _ given reply"
_ANSWERED: Final = "label _ given"
_E, _F, _N = V("e"), V("f"), V("n")


class Configuration(NamedTuple):
    """A world to explore."""

    name: str
    text: str
    build: Callable[[], World]
    depth: int | None = None
    """How deep to go unless told otherwise; None: until all is seen."""


CONFIGURATIONS: dict[str, Configuration] = {}


def configuration(build: Callable[[], World]) -> Callable[[], World]:
    """Enter a function into the table."""
    name = build.__name__.strip("_").replace("_", "-")
    text = " ".join((build.__doc__ or "").split())
    CONFIGURATIONS[name] = Configuration(name, text, build)
    return build


def _pair(label: int = 0, quota: int = 1 << 22) -> tuple[World, Actor, Actor]:
    """A server that may receive from an endpoint, and a client that may send to it."""
    world = World()
    if label:
        world.do(world.init, "label_allow", world.policy, 0, label, 1)
    server = world.child("server", quota=quota)
    client = world.child("client", label)
    world.init.variables["e"] = slot = world.do(world.init, "endpoint_create")
    world.share(slot, server, ALL, "e")
    world.share(slot, client, SEND, "e", 7)
    return world, server, client


def _frame(world: World, actor: Actor, rights: int = ALL) -> None:
    """Give an actor a frame of init's, both as the variable ``f``."""
    world.init.variables["f"] = slot = world.do(world.init, "frame_create", PAGE_SIZE)
    world.share(slot, actor, rights, "f")


@configuration
def call_and_reply_with_capabilities() -> World:
    """A client calls and sends a frame, the server answers and sends it back; either may crash."""
    world, server, client = _pair()
    _frame(world, client)
    server.script = (
        step("recv", _E, FOREVER, into=_CALLED),
        step("map", V("given"), BOTH, into="mapping _"),
        step("reply", V("reply"), 0, b"", [V("given")]),
        step("cap_drop", V("given")),
    )
    client.script = (
        step("call", _E, 0, b"", [_F], LIMIT, into=_ANSWERED),
        step("map", V("given"), int(Right.READ), into="mapping _"),
        step("unmap", V("mapping")),
        step("cap_revoke", _F),
    )
    world.crashes = [server.thread.space, client.thread.space]
    return world


@configuration
def revoke_while_it_is_passed_on() -> World:
    """A frame goes from client to server, both map it, and init revokes it meanwhile."""
    world, server, client = _pair()
    _frame(world, client)
    server.script = (
        step("recv", _E, LIMIT, into=_CALLED),
        step("map", V("given"), BOTH, into="mapping _"),
        step("cap_mint", V("given"), READ, 0, NULL, into="own"),
        step("map", V("own"), int(Right.READ), into="mapping _"),
        step("reply", V("reply"), 0, b"", [V("own")]),
    )
    client.script = (
        step("map", _F, BOTH, into="mapping _"),
        step("call", _E, 0, b"", [_F], LIMIT, into=_ANSWERED),
        step("map", V("given"), int(Right.READ), into="mapping _"),
    )
    world.init.script = (step("cap_revoke", _F), step("cap_drop", _F))
    return world


@configuration
def two_clients_and_a_deaf_server() -> World:
    """Two clients with timeouts, and a server that answers one of them and drops a reply."""
    world, server, client = _pair()
    other = world.child("other")
    world.share(world.init.variables["e"], other, SEND, "e", 8)
    server.script = (
        step("recv", _E, FOREVER, into=_CALLED),
        step("recv", _E, LIMIT, into="badge label _ given second"),
        step("reply", V("reply"), 1, b"", []),
        step("cap_drop", V("second")),
        step("reply_recv", V("reply"), 2, b"", [], _E, 0, into=_CALLED),
    )
    client.script = (
        step("call", _E, 0, b"", [], LIMIT, into=_ANSWERED),
        step("send", _E, 0, b"", [], LIMIT),
    )
    other.script = (
        step("send", _E, 0, b"", [], 3),
        step("call", _E, 0, b"", [], FOREVER, into=_ANSWERED),
    )
    world.crashes = [server.thread.space]
    return world


@configuration
def server_is_destroyed() -> World:
    """A server is ended by init while one client calls it twice and another sends a frame."""
    world, server, client = _pair()
    other = world.child("other")
    world.share(world.init.variables["e"], other, SEND, "e", 8)
    _frame(world, other)
    server.script = (
        step("recv", _E, LIMIT, into=_CALLED),
        step("map", V("given"), int(Right.READ), into="mapping _"),
        step("reply_recv", V("reply"), 0, b"", [], _E, LIMIT, into=_CALLED),
        step("reply", V("reply"), 0, b"", [V("given")]),
    )
    call = step("call", _E, 0, b"", [], LIMIT, into=_ANSWERED)
    client.script = (call, call)
    other.script = (step("call", _E, 0, b"", [_F], LIMIT, into=_ANSWERED),)
    world.init.script = (step("space_destroy", V("server")),)
    return world


@configuration
def endpoint_is_revoked() -> World:
    """Init revokes and drops the endpoint at which two clients call a server."""
    world, server, client = _pair()
    other = world.child("other")
    world.share(world.init.variables["e"], other, SEND, "e", 8)
    server.script = (
        step("recv", _E, LIMIT, into=_CALLED),
        step("reply_recv", V("reply"), 0, b"", [], _E, LIMIT, into=_CALLED),
        step("reply", V("reply"), 0, b"", []),
    )
    call = step("call", _E, 0, b"", [], LIMIT, into=_ANSWERED)
    client.script = (call, step("cap_drop", _E), call)
    other.script = (call, call)
    world.init.script = (step("cap_revoke", _E), step("cap_drop", _E))
    return world


@configuration
def suspended_in_the_middle() -> World:
    """Init suspends the client and resumes it, while it calls and is answered."""
    world, server, client = _pair()
    server.script = (
        step("recv", _E, LIMIT, into=_CALLED),
        step("reply_recv", V("reply"), 1, b"", [], _E, LIMIT, into=_CALLED),
        step("reply", V("reply"), 1, b"", []),
    )
    client.script = (
        step("call", _E, 0, b"", [], LIMIT, into=_ANSWERED),
        step("endpoint_create", into="own"),
        step("call", _E, 0, b"", [V("own")], LIMIT, into=_ANSWERED),
    )
    thread = V("client.thread")
    world.init.script = (
        step("thread_control", thread, int(ThreadOp.SUSPEND), 0),
        step("thread_control", V("server.thread"), int(ThreadOp.SUSPEND), 0),
        step("thread_control", thread, int(ThreadOp.RESUME), 0),
        step("thread_control", V("server.thread"), int(ThreadOp.RESUME), 0),
    )
    return world


@configuration
def signals_heard_in_three_ways() -> World:
    """A notification that is bound, waited for and polled, signalled by a client and a device."""
    world, server, client = _pair()
    init = world.init
    init.variables["n"] = slot = world.do(init, "notification_create")
    world.share(slot, server, ALL, "n")
    world.share(slot, client, SEND, "n", 4)
    device = give(init.thread.space, Device(world.kernel, "disk", 0), 63)
    world.share(device, client, int(Right.CONTROL), "d")
    second = world.thread("server", server)
    second.name = "listener"
    second.variables = server.variables
    server.script = (
        step("thread_control", NULL, int(ThreadOp.BIND), _N),
        step("recv", _E, LIMIT, into=_CALLED),
        step("poll", _N, into="bits"),
        step("thread_control", NULL, int(ThreadOp.BIND), NULL),
    )
    second.script = (step("wait", _N, LIMIT, into="bits"), step("wait", _N, 0, into="bits"))
    client.script = (
        step("irq_bind", V("d"), _N, 2),
        step("irq_ack", V("d")),
        step("signal", _N, 1),
        step("send", _E, 0, b"", [_N], LIMIT),
        step("irq_ack", V("d")),
    )
    init.script = (step("cap_revoke", _N),)
    return world


@configuration
def labels_part() -> World:
    """Two labels talk, a frame and a link cross, and the pair is taken away at any moment."""
    world, server, client = _pair(label=5)
    init = world.init
    server.script = (
        step("recv", _E, LIMIT, into=_CALLED),
        step("link_create", into="link"),
        step("link_open", V("link"), int(Right.RECEIVE)),
        step("reply", V("reply"), 0, b"", [V("link")]),
    )
    client.script = (
        step("call", _E, 0, b"", [], LIMIT, into=_ANSWERED),
        step("link_open", V("given"), int(Right.SEND)),
        step("send", _E, 0, b"", [V("given")], LIMIT),
        step("recv", V("given"), 0, into=_CALLED),
    )
    init.script = (
        step("label_allow", world.policy, 0, 5, 0),
        step("label_allow", world.policy, 0, 5, 1),
        step("label_allow", world.policy, 0, 5, 0),
    )
    return world


@configuration
def everything_ends() -> World:
    """A family of spaces with fault messages: children end by themselves and with their parent."""
    world = World()
    init = world.init
    init.variables["e"] = slot = world.do(init, "endpoint_create")
    parent = world.child("parent", fault=slot)
    world.share(slot, parent, SEND, "e", 3)
    other = world.child("other", fault=slot)
    parent.script = (
        step("space_create", "child", 1 << 20, 0, NULL, 0, _E, into="space"),
        step("thread_create", V("space"), "child", b"", 50, into="thread"),
        step("cap_mint", _E, SEND, 0, V("space"), into="given"),
        step("space_destroy", V("space")),
        step("thread_exit", int(Fault.EXIT), "done"),
    )
    other.script = (step("thread_exit", int(Fault.EXCEPTION), "oops"),)
    init.script = (
        step("recv", _E, LIMIT, into=_CALLED),
        step("space_destroy", V("parent")),
        step("recv", _E, LIMIT, into=_CALLED),
        step("cap_drop", V("other")),
        step("recv", _E, LIMIT, into=_CALLED),
    )
    world.crashes = [parent.thread.space, other.thread.space]
    return world


@configuration
def frames_mapped_and_unmapped() -> World:
    """Two threads of one space and init map, unmap, move, drop and revoke the same frame."""
    world, _server, client = _pair()
    _frame(world, client)
    second = world.thread("client", client)
    second.name = "second"
    second.variables = client.variables
    client.script = (
        step("map", _F, BOTH, into="mapping _"),
        step("cap_mint", _F, READ, 0, NULL, into="own"),
        step("unmap", V("mapping")),
        step("cap_revoke", _F),
    )
    second.script = (
        step("map", V("own"), int(Right.READ), into="_ _"),
        step("cap_drop", _F),
        step("map", V("own"), int(Right.READ), into="_ _"),
    )
    world.init.script = (
        step("map", _F, int(Right.READ), into="mapping _"),
        step("cap_revoke", _F),
        step("unmap", V("mapping")),
        step("cap_drop", _F),
    )
    world.crashes = [client.thread.space]
    return world


@configuration
def quotas_run_out() -> World:
    """A server with hardly any memory, clients that fill it, objects that come and go."""
    world = World()
    init = world.init
    small = 2 * 65_536 + 6 * CAPABILITY_COST + OBJECT_COST
    server = world.child("server", quota=small)
    client = world.child("client", quota=3 * 65_536 + LINK_COST)
    init.variables["e"] = slot = world.do(init, "endpoint_create")
    world.share(slot, server, ALL, "e")
    world.share(slot, client, SEND, "e", 7)
    server.script = (
        step("recv", _E, LIMIT, into=_CALLED),
        step("notification_create", into="n"),
        step("cap_drop", V("given")),
        step("reply_recv", V("reply"), 0, b"", [V("n")], _E, LIMIT, into=_CALLED),
        step("cap_mint", _E, SEND, 9, NULL, into="own"),
        step("reply", V("reply"), 0, b"", []),
    )
    client.script = (
        step("link_create", into="link"),
        step("call", _E, 0, b"", [_E, _E, _E], LIMIT, into=_ANSWERED),
        step("cap_drop", V("link")),
        step("frame_create", PAGE_SIZE, into="f"),
        step("call", _E, 0, b"", [_F, V("given")], LIMIT, into=_ANSWERED),
    )
    init.script = (step("cap_revoke", _E), step("space_destroy", V("client")))
    return world


@configuration
def busy_with_themselves() -> World:
    """Three processes that make objects of their own, and meet now and then."""
    world, server, client = _pair()
    other = world.child("other")
    world.share(world.init.variables["e"], other, SEND, "e", 8)
    world.undisturbed = True
    server.script = (
        step("recv", _E, FOREVER, into=_CALLED),
        step("frame_create", PAGE_SIZE, into="f"),
        step("notification_create", into="n"),
        step("reply_recv", V("reply"), 0, b"", [_N], _E, FOREVER, into=_CALLED),
        step("clock"),
        step("reply", V("reply"), 0, b"", [_F]),
    )
    client.script = (
        step("clock"),
        step("endpoint_create", into="own"),
        step("call", _E, 0, b"", [V("own")], FOREVER, into=_ANSWERED),
        step("notification_create", into="n"),
        step("signal", V("given"), 1),
    )
    other.script = (
        step("link_create", into="link"),
        step("frame_create", PAGE_SIZE, into="f"),
        step("call", _E, 0, b"", [V("link"), _F], FOREVER, into=_ANSWERED),
        step("clock"),
    )
    return world


def _anything(*calls: str, label: int = 0, crashes: bool = False) -> Callable[[], World]:
    """A world in which two processes make any calls of an alphabet, in any number and order."""

    def build() -> World:
        world, server, client = _pair(label)
        world.crashes = [client.thread.space, server.thread.space] if crashes else []
        _frame(world, client)
        server.alphabet = tuple(_ALPHABET[name] for name in calls if name in _SERVER)
        client.alphabet = tuple(_ALPHABET[name] for name in calls if name in _CLIENT)
        world.init.alphabet = tuple(_ALPHABET[name] for name in calls if name in _INIT)
        return world

    return build


_ALPHABET: Final = {
    "recv": step("recv", _E, FOREVER, into=_CALLED),
    "reply": step("reply", V("reply"), 0, b"", []),
    "reply back": step("reply", V("reply"), 0, b"", [V("given")]),
    "call": step("call", _E, 0, b"", [], FOREVER, into=_ANSWERED),
    "call with frame": step("call", _E, 0, b"", [_F], LIMIT, into=_ANSWERED),
    "call with endpoint": step("call", _E, 0, b"", [_E], FOREVER, into=_ANSWERED),
    "map": step("map", _F, BOTH, into="mapping _"),
    "map given": step("map", V("given"), int(Right.READ), into="mapping _"),
    "unmap": step("unmap", V("mapping")),
    "mint": step("cap_mint", _F, READ, 0, NULL, into="own"),
    "drop": step("cap_drop", _F),
    "drop given": step("cap_drop", V("given")),
    "drop reply": step("cap_drop", V("reply")),
    "revoke": step("cap_revoke", _F),
    "revoke given": step("cap_revoke", V("given")),
    "revoke endpoint": step("cap_revoke", _E),
    "suspend": step("thread_control", V("client.thread"), int(ThreadOp.SUSPEND), 0),
    "resume": step("thread_control", V("client.thread"), int(ThreadOp.RESUME), 0),
    "destroy": step("space_destroy", V("client")),
    "exit": step("thread_exit", int(Fault.EXIT), ""),
    "recv soon": step("recv", _E, LIMIT, into=_CALLED),
    "send soon": step("send", _E, 0, b"", [], LIMIT),
    "create": step("notification_create", into="n"),
    "wait": step("wait", _N, LIMIT, into="bits"),
    "bind": step("thread_control", NULL, int(ThreadOp.BIND), _N),
    "unbind": step("thread_control", NULL, int(ThreadOp.BIND), NULL),
    "signal": step("signal", _N, 1),
    "send word": step("send", _E, 0, b"", [_N], LIMIT),
    "take word": step("cap_mint", V("given"), 63 - 16, 0, NULL, into="n"),
    "link": step("link_create", into="n"),
    "open": step("link_open", V("given"), int(Right.SEND)),
    "serve": step("link_open", _N, int(Right.RECEIVE)),
    "allow": step("label_allow", 1, 0, 5, 1),
    "part": step("label_allow", 1, 0, 5, 0),
}
_SERVER: Final = (
    *("recv", "reply", "reply back", "map given", "drop given", "drop reply", "revoke given"),
    *("unmap", "exit", "recv soon", "take word", "wait", "bind", "unbind", "open"),
)
_CLIENT: Final = (
    *("call", "call with frame", "call with endpoint", "map", "map given", "unmap", "mint", "drop"),
    *("revoke", "exit", "send soon", "create", "signal", "send word", "link", "serve"),
)
_INIT: Final = (
    *("revoke", "revoke endpoint", "suspend", "resume", "destroy", "drop", "allow", "part"),
)

GENERATED: Final = {
    name: Configuration(name, text, build, 6)
    for name, text, build in (
        (
            "any-messages",
            "Any calls that pass messages and capabilities, by two processes and a supervisor.",
            _anything(
                *("recv", "reply", "reply back", "call", "call with frame", "call with endpoint"),
                *("drop given", "drop reply", "revoke given", "revoke endpoint", "suspend"),
                *("resume", "destroy"),
            ),
        ),
        (
            "any-memory",
            "Any calls that map, unmap and take memory away, with the machine as late as it likes.",
            _anything(
                *("recv", "reply back", "call with frame", "map", "map given", "unmap", "mint"),
                *("drop", "revoke", "revoke given", "drop given", "exit", "destroy"),
            ),
        ),
        (
            "any-signals",
            "Any calls that signal, bind and wait with timeouts, and processes that crash.",
            _anything(
                *("recv soon", "send soon", "create", "wait", "bind", "unbind", "signal"),
                *("send word", "take word", "drop given", "suspend", "resume"),
                crashes=True,
            ),
        ),
        (
            "any-labels",
            "Any calls across two labels that may talk, and then may not.",
            _anything(
                *("recv soon", "reply back", "call with frame", "send word", "link", "open"),
                *("serve", "map given", "map", "allow", "part", "revoke endpoint"),
                label=5,
            ),
        ),
    )
}
"""Worlds without scripts: at each step, any call of an alphabet by anybody who can make one."""
CONFIGURATIONS |= GENERATED
