"""Answers: giving none, two, or what is no answer."""

from __future__ import annotations

import time
from typing import Any, Final

from kernel.abi import LABEL_FAULT, NULL, Right
from servers.runtime import Endpoint, Environment, KernelError
from tests.hostile.attacker import SECOND, Attacker
from tests.hostile.registry import Foiled, attack, harmless, refused

_GUESSES: Final = 80


def _serving(at: Attacker, serve: Any, patience: int = SECOND) -> str:
    """Have the neighbour call while a thread of the attacker's serves; what the neighbour says."""
    endpoint = at.env.slot("evil")
    done = at.env.event()
    kept: list[Any] = []

    def body(env: Environment) -> None:
        *_, reply = env.system.recv(endpoint, 5 * SECOND)
        try:
            kept.append(serve(env, reply))
        except KernelError as error:
            kept.append(error)
        done.set()

    at.env.thread(body, "serve")
    own = at.system.cap_mint(endpoint, Right.SEND | Right.GRANT, 0, NULL)
    said = at.neighbour.visit(Endpoint(at.system, own), patience)
    done.wait(5 * SECOND)
    if kept and isinstance(kept[0], KernelError):
        raise kept[0]
    return said


_ANSWER: Final = b"\x2a"  # 42


@attack(harmless("TimedOut"))
def never_reply(at: Attacker) -> object:
    """Take a call and do not answer it."""
    raise Foiled(_serving(at, lambda env, reply: reply, SECOND // 10))


@attack(harmless("TimedOut"))
def reply_too_late(at: Attacker) -> object:
    """Answer when the caller has given up."""

    def serve(env: Environment, reply: int) -> object:
        time.sleep(0.3)
        try:
            env.system.reply(reply, 0, _ANSWER, [])
        except KernelError:
            return "refused"
        return "accepted"

    raise Foiled(_serving(at, serve, SECOND // 10))


@attack(refused("BAD_CAPABILITY"))
def reply_twice(at: Attacker) -> object:
    """Answer one call twice."""

    def serve(env: Environment, reply: int) -> object:
        env.system.reply(reply, 0, _ANSWER, [])
        env.system.reply(reply, 0, _ANSWER, [])
        return "twice"

    return _serving(at, serve)


@attack(refused("BAD_CAPABILITY"))
def reply_with_a_guess(at: Attacker) -> object:
    """Answer with every other number than the one that it was given."""

    def serve(env: Environment, reply: int) -> object:
        last: KernelError | None = None
        for slot in range(1, _GUESSES):
            if slot == reply:
                continue
            try:
                env.system.reply(slot, 0, _ANSWER, [])
                return slot
            except KernelError as error:
                last = error
        env.system.reply(reply, 0, _ANSWER, [])
        assert last is not None
        raise last

    return _serving(at, serve)


@attack(refused("NO_RIGHT", "BAD_ARGUMENT"))
def copy_reply(at: Attacker) -> object:
    """Derive a second right to answer."""

    def serve(env: Environment, reply: int) -> object:
        try:
            return env.system.cap_mint(reply, Right.SEND, 0, NULL)
        finally:
            env.system.reply(reply, 0, _ANSWER, [])

    return _serving(at, serve)


@attack(refused("BAD_CAPABILITY"))
def reply_with_what_it_does_not_have(at: Attacker) -> object:
    """Answer with a capability that it does not have."""

    def serve(env: Environment, reply: int) -> object:
        try:
            env.system.reply(reply, 0, _ANSWER, [9999])
            return "answered"
        finally:
            env.system.reply(reply, 0, _ANSWER, [])

    return _serving(at, serve)


@attack(refused("BAD_ARGUMENT"))
def reply_as_the_kernel(at: Attacker) -> object:
    """Answer with a label that only the kernel uses."""

    def serve(env: Environment, reply: int) -> object:
        try:
            env.system.reply(reply, LABEL_FAULT, _ANSWER, [])
            return "answered"
        finally:
            env.system.reply(reply, 0, _ANSWER, [])

    return _serving(at, serve)


@attack(harmless("Failed: the answer of ping does not fit"))
def reply_with_nonsense(at: Attacker) -> object:
    """Answer with what is no answer."""
    raise Foiled(_serving(at, lambda env, reply: env.system.reply(reply, 0, b"\xc1", [])))


@attack(harmless("Failed: the answer of ping does not fit"))
def reply_with_a_nest(at: Attacker) -> object:
    """Answer with arrays in arrays, for the caller to fall into."""
    nest = b"\x91" * 60_000 + b"\x2a"
    raise Foiled(_serving(at, lambda env, reply: env.system.reply(reply, 0, nest, [])))


@attack(harmless("answered 42"))
def reply_with_gifts(at: Attacker) -> object:
    """Answer with as many capabilities as fit, which the caller has not asked for."""
    frames = [at.system.frame_create(4096) for _ in range(8)]
    raise Foiled(_serving(at, lambda env, reply: env.system.reply(reply, 0, _ANSWER, frames)))


@attack(harmless("ServerDied"))
def drop_the_call(at: Attacker) -> object:
    """Give up the right to answer."""
    raise Foiled(_serving(at, lambda env, reply: env.system.cap_drop(reply)))
