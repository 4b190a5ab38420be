"""Capabilities: guessing and forging them, and using authority that it was not given."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kernel.abi import (
    CALLS,
    LABEL_FAULT,
    LABEL_LIMIT,
    LABEL_NOTIFICATION,
    NULL,
    DebugOp,
    Error,
    Right,
    ThreadOp,
)
from servers.runtime import KernelError, ServiceError
from servers.runtime.server import OFFER_SHIFT, SESSION
from tests.hostile.attacker import SECOND, Attacker
from tests.hostile.registry import Body, Foiled, attack, harmless, refused

_GUESSES: Final = 80
_FILLING: Final[dict[str, Any]] = {
    "cap": 0,
    "uint": 0,
    "timeout": 0,
    "rights": 1,
    "label": 0,
    "bytes": b"",
    "text": "x",
    "caps": [],
}


def _own(at: Attacker) -> set[int]:
    return {at.env.slot(name) for name in at.env.names()}


def _guess(at: Attacker, first: int, last: int) -> list[tuple[str, int, int]]:
    """Every call with every number in the place of each capability; those that were not refused."""
    found, own = [], _own(at)
    for spec in CALLS:
        places = [i for i, (_, kind) in enumerate(spec.arguments, 1) if kind == "cap"]
        for slot in range(first, last):
            if not places or slot in own:
                continue
            request = [spec.number, *(_FILLING[kind] for _, kind in spec.arguments)]
            for place in places:
                request[place] = slot
            error = at.system.exchange(request)[0]
            if error != Error.BAD_CAPABILITY:
                found.append((spec.name, slot, error))
    return found


@attack(refused("BAD_CAPABILITY"))
def guess_every_small_number(at: Attacker) -> object:
    """Use every small number as a capability, in every system call."""
    found = _guess(at, 1, _GUESSES)
    if found:
        return found
    at.system.cap_drop(_GUESSES)
    return _GUESSES


@attack(refused("BAD_CAPABILITY"))
def guess_large_numbers(at: Attacker) -> object:
    """Use numbers at the limits of what a number can be."""
    for limit in (8, 16, 31, 32, 53, 63, 64):
        found = _guess(at, (1 << limit) - 2, (1 << limit) - 1 if limit == 64 else (1 << limit) + 1)
        if found:
            return found
    at.system.cap_drop((1 << 64) - 1)
    return "the largest of them"


@attack(refused("BAD_CAPABILITY"))
def send_what_it_does_not_have(at: Attacker) -> object:
    """Send capabilities that it does not have along with a message."""
    return at.system.call(at.env.slot("victim"), 0, b"\x91\x01", [9999], SECOND)


@attack(refused("BAD_CAPABILITY"))
def send_one_of_them_forged(at: Attacker) -> object:
    """Send a forged capability among good ones."""
    good = at.system.frame_create(4096)
    caps = [good, good, 1 << 40, good]
    return at.system.call(at.env.slot("victim"), 0, b"\x91\x01", caps, SECOND)


@attack(refused("BAD_CAPABILITY"))
def use_what_was_dropped(at: Attacker) -> object:
    """Use a capability that it gave up, once another has come."""
    slot = at.system.endpoint_create()
    at.system.cap_drop(slot)
    for _ in range(64):
        at.system.notification_create()
    return at.system.cap_mint(slot, 1, 0, NULL)


@attack(refused("BAD_CAPABILITY", "CANCELLED"))
def use_what_was_taken_back(at: Attacker) -> object:
    """Use a frame's capability after it was revoked."""
    frame = at.neighbour.lend()
    at.neighbour.take_back()
    return frame.map(writable=False)


@attack(refused("BAD_CAPABILITY"))
def keep_copy_of_capability(at: Attacker) -> object:
    """Derive a copy of what is going to be taken back, to keep that."""
    frame = at.neighbour.lend()
    copy = frame.mint(Right.READ).mint(Right.READ)
    at.neighbour.take_back()
    return copy.map(writable=False)


@attack(refused("NO_RIGHT"))
def receive_the_victims_messages(at: Attacker) -> object:
    """Receive what others send to the victim."""
    return at.system.recv(at.env.slot("victim"), 0)


@attack(refused("NO_RIGHT"))
def mint_the_right_to_receive(at: Attacker) -> object:
    """Derive the right to receive from the right to send."""
    return at.system.cap_mint(at.env.slot("victim"), Right.SEND | Right.RECEIVE, 0, NULL)


@attack(refused("NO_RIGHT", "BAD_ARGUMENT"))
def mint_all_rights(at: Attacker) -> object:
    """Derive all rights there are, and some that there are not."""
    return at.system.cap_mint(at.env.slot("victim"), (1 << 32) - 1, 0, NULL)


def _badge(badge: int) -> Body:
    return lambda at: at.system.cap_mint(at.env.slot("victim"), Right.SEND, badge, NULL)


for _name, _number in {
    "operator": 1 << 16,
    "init": (1 << 16) + 1,
    "neighbour": 3,
    "other-offer": 7 << OFFER_SHIFT | 4,
    "session": SESSION | 1,
}.items():
    attack(
        refused("BAD_ARGUMENT"),
        name=f"forge-badge-of-{_name}",
        text=f"Give its capability the badge of the {_name}.",
    )(_badge(_number))


@attack(harmless("born"))
def claim_to_be_another(at: Attacker) -> object:
    """Have the victim take it for somebody else."""
    caller = at.victim.caller()
    if caller != at.env.name:
        return caller
    raise Foiled(caller)


def _label(label: int) -> Body:
    return lambda at: at.system.send(at.env.slot("victim"), label, b"", [], 0)


for _name, _number in {
    "notification": LABEL_NOTIFICATION,
    "fault": LABEL_FAULT,
    "limit": LABEL_LIMIT + 1000,
}.items():
    attack(
        refused("BAD_ARGUMENT"),
        name=f"forge-label-of-{_name}",
        text="Send the victim what only the kernel sends.",
    )(_label(_number))


@attack(refused("BadRequest"))
def call_methods_that_are_not_there(at: Attacker) -> object:
    """Call a method that the victim does not have."""
    label, data, _ = at.system.call(at.env.slot("victim"), 9999, b"\x90", [], SECOND)
    if label == 1:
        raise ServiceError.of(*msgspec.msgpack.decode(data))
    return data


@attack(harmless("the others"))
def revoke_what_it_was_given(at: Attacker) -> object:
    """Revoke the capability that it shares with others."""
    for name in ("victim", "neighbour", "evil", "book"):
        at.system.cap_revoke(at.env.slot(name))
    assert at.victim.ping(1) == 2
    raise Foiled("the others have what they had")


@attack(harmless("the others"))
def drop_what_it_was_given(at: Attacker) -> object:
    """Give up what it shares with others."""
    at.system.cap_drop(at.env.slot("book"))
    frame = at.neighbour.lend()
    frame.revoke()
    frame.drop()
    if at.neighbour.contents()[:4] != b"vvvv":
        return "the neighbour has lost its frame"
    raise Foiled("the others have what they had")


@attack(refused("NO_RIGHT", "BAD_CAPABILITY"))
def wait_for_anothers_signals(at: Attacker) -> object:
    """Take the signals that are meant for the victim."""
    return at.system.poll(at.neighbour.bell().slot)


@attack(harmless("only its own bit"))
def signal_what_it_must_not(at: Attacker) -> object:
    """Signal other bits than its badge."""
    bell = at.neighbour.bell()
    bell.signal((1 << 64) - 1)
    heard = at.neighbour.heard()
    if heard != 2:
        return heard
    raise Foiled("only its own bit came")


_AUTHORITIES: Final[dict[str, tuple[str, tuple[Any, ...]]]] = {
    # name: call, arguments after the authority
    "debug": ("debug", (int(DebugOp.CAPABILITIES), 0)),
    "label-allow": ("label_allow", (0, 1, 1)),
    "interrupt": ("irq_ack", ()),
    "device": ("device_map", (int(Right.READ),)),
}


def _use_authority(call: str, rest: tuple[Any, ...]) -> Body:
    def use(at: Attacker) -> object:
        function = getattr(at.system, call)
        last: KernelError | None = None
        for slot in [*range(_GUESSES), *_own(at)]:
            if call == "device_map" and slot in (at.env.slot("book"), at.env.slot("tty")):
                continue
            if call == "irq_ack" and slot in (at.env.slot("book"), at.env.slot("tty")):
                continue
            try:
                return slot, function(slot, *rest)
            except KernelError as error:
                last = error
        assert last is not None
        raise last

    return use


for _name, (_call, _rest) in _AUTHORITIES.items():
    attack(
        refused("BAD_CAPABILITY", "NO_RIGHT"),
        name=f"authority-{_name}",
        text=f"Make the call {_call} with everything that it holds, and more.",
    )(_use_authority(_call, _rest))


@attack(refused("BAD_CAPABILITY"))
def control_threads_of_others(at: Attacker) -> object:
    """Suspend every thread that a number might name."""
    last: KernelError | None = None
    for slot in range(1, _GUESSES):
        for operation in ThreadOp:
            try:
                at.system.thread_control(slot, operation, 0)
                return slot, operation
            except KernelError as error:
                last = error
    assert last is not None
    raise last


@attack(refused("BAD_CAPABILITY"))
def destroy_spaces_of_others(at: Attacker) -> object:
    """Destroy every space that a number might name."""
    for slot in [*_own(at), *range(1, _GUESSES)]:
        try:
            at.system.space_destroy(slot)
            return slot
        except KernelError as error:
            last = error
    raise last


@attack(refused("DENIED", "BAD_ARGUMENT", "NO_RIGHT", "BAD_CAPABILITY"))
def take_another_label(at: Attacker) -> object:
    """Make a space with a label that it does not have."""
    made = []
    for label in (0, 1, 2, 3, 1 << 31):
        try:
            made.append(at.system.space_create("evil", 0, label, NULL, 0, NULL))
        except KernelError as error:
            last = error
    if len(made) > 1:
        return made
    raise last


@attack(refused("BAD_ARGUMENT", "NO_RIGHT", "DENIED"))
def allow_a_child_more(at: Attacker) -> object:
    """Make a space that may execute its own memory, which it may not itself."""
    for label in range(4):
        try:
            return at.system.space_create("evil", 0, label, NULL, 1, NULL)
        except KernelError as error:
            last = error
    raise last


@attack(refused("BAD_CAPABILITY", "NO_RIGHT"))
def bind_what_is_not_its_own(at: Attacker) -> object:
    """Hear the victim's signals whenever it receives."""
    at.system.thread_control(NULL, ThreadOp.BIND, at.neighbour.bell().slot)
    return "bound"


@attack(refused("BAD_ARGUMENT", "NO_RIGHT", "BAD_CAPABILITY"))
def move_into_another_space(at: Attacker) -> object:
    """Move a capability into the victim's table."""
    return at.system.cap_move(at.system.frame_create(4096), at.env.slot("victim"))
