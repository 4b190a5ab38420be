"""The victim."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from servers.runtime import Endpoint, Environment, Frame, KernelError, Mapping, Notification, Right
from tests.hostile.victim import PAGE, SECRET, Victim


class Victims(Victim):
    """The service."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._secret = ctypes.create_string_buffer(SECRET, len(SECRET))
        self._facts = b""
        self._frame: Frame | None = None
        self._mapping: Mapping | None = None
        self._bell: Notification | None = None

    def ping(self, value: int) -> int:
        return value + 1

    def echo(self, data: bytes) -> bytes:
        return data

    def caller(self) -> str:
        return self._env.caller

    def secret(self) -> bytes:
        return self._secret.raw

    def hide(self, secret: bytes) -> None:
        self._secret.raw = secret

    def address(self) -> int:
        return ctypes.addressof(self._secret)

    def brief(self, facts: bytes) -> None:
        self._facts = facts

    def facts(self) -> bytes:
        return self._facts

    def lend(self) -> Frame:
        if self._frame is None:
            self._frame = self._env.frame(PAGE)
            self._mapping = self._frame.map()
        self.scribble(ord("v"))
        return self._frame.mint(Right.READ | Right.GRANT)

    def contents(self) -> bytes:
        return b"" if self._mapping is None else bytes(self._mapping.view[:16])

    def scribble(self, byte: int) -> None:
        if self._mapping is not None:
            self._mapping.view[:] = bytes([byte]) * PAGE

    def take_back(self) -> int:
        began = self._env.clock()
        if self._frame is not None:
            self._frame.revoke()
        return self._env.clock() - began

    def bell(self) -> Notification:
        if self._bell is None:
            self._bell = self._env.notification()
        return self._bell.mint(Right.SEND | Right.GRANT, 2)

    def heard(self) -> int:
        return 0 if self._bell is None else self._bell.poll()

    def visit(self, endpoint: Endpoint, patience: int) -> str:
        try:
            return f"answered {self._env.client(Victim, endpoint, patience).ping(41)}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            with suppress(KernelError):
                endpoint.drop()

    def reset(self) -> None:
        if self._mapping is not None:
            self._mapping.close()
        for held in (self._frame, self._bell):
            if held is not None:
                held.revoke()
                held.drop()
        self._frame = self._mapping = self._bell = None


def main(env: Environment) -> None:
    env.serve(Victims(env), on="victim")
