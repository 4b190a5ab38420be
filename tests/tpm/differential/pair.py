"""Both TPMs, step by step."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.tpm.differential import answers
from tests.tpm.differential.answers import Mismatch
from tests.tpm.differential.sides import Machine, Outcome, Side
from tests.tpm.differential.steps import CODES, SET, Made, Step
from tests.tpm.tpm20.oracle import AVAILABLE, Oracle
from tpm.tpm20 import Tpm
from tpm.tpm20.constants import CC, RC, P

T = TypeVar("T")
_STARTUP = CC.Startup.to_bytes(4, "big")
MISSING = "swtpm is not installed; get it with: apt install swtpm"


@dataclass(frozen=True)
class Difference:
    """A step that the two TPMs did not answer alike."""

    step: Step
    command: bytes
    """What ours was sent."""
    mismatch: Mismatch

    @property
    def signature(self) -> tuple[Any, ...]:
        """What stays the same when the sequence that leads there gets shorter."""
        what, ours, theirs = self.mismatch
        code = self.command[6:10]
        return (code, what, ours, theirs) if what == "code" else (code, what)

    @property
    def parts_ways(self) -> bool:
        """One TPM did what the other did not."""
        what, ours, theirs = self.mismatch
        if what == "code":
            return 0 in (ours, theirs) or theirs == RC.FAILURE
        return what in ("problem", "handle")

    def __str__(self) -> str:
        what, ours, theirs = self.mismatch
        if what == "code":
            ours, theirs = hex(ours), hex(theirs)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            ours, theirs = (dict(one.items() - other.items()) for one, other in _ways(ours, theirs))
        return f"{self.step}\n  {self.command.hex()}\n  {what}: ours {ours}, theirs {theirs}"


class Ours:
    """The engine; its time goes on by a millisecond a command, its randomness has a seed."""

    def __init__(self, seed: int = 0) -> None:
        self._now = 0
        self._random = random.Random(seed)
        self.tpm = self._made()
        self.machine = Machine(self.execute, self._power, self._fresh)

    def _made(self) -> Tpm:
        return Tpm(None, self._random.randbytes, lambda: self._now)

    def _fresh(self) -> None:
        self.tpm = self._made()

    def _power(self) -> None:
        self.tpm.power_on()

    def execute(self, command: bytes, locality: int) -> bytes:
        self._now += 1
        response = self.tpm.execute(command, locality)
        if self.tpm.fault is not None:
            raise AssertionError(f"{command.hex()}\n{self.tpm.fault}")
        return response


class Theirs:
    """A swtpm that can become a new TPM without starting anew."""

    def __init__(self) -> None:
        self._oracle = Oracle()
        self._locality = 0
        self.machine = Machine(self.execute, self._power, self._fresh)

    def _power(self) -> None:
        self._oracle.power_on()

    def _fresh(self) -> None:
        for path in Path(self._oracle.folder).glob("tpm2-*"):
            path.unlink()
        self._oracle.power_on()

    def execute(self, command: bytes, locality: int) -> bytes:
        if locality != self._locality:
            self._oracle.set_locality(locality)
            self._locality = locality
        try:
            return self._oracle.execute(command)
        except (EOFError, OSError):
            self.restart()
            return b""

    def restart(self) -> None:
        """After it has died."""
        self.close()
        self._oracle = Oracle()
        self._locality = 0

    def close(self) -> None:
        self._oracle.close()

    def __enter__(self) -> Theirs:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Pair:
    """Both TPMs in the course of one sequence."""

    def __init__(self, ours: Machine, theirs: Machine) -> None:
        self._machines = (ours, theirs)
        self.begin()

    def begin(self) -> None:
        """A new sequence, on new TPMs."""
        for machine in self._machines:
            machine.fresh()
        self.ours, self.theirs = (Side(machine) for machine in self._machines)
        self._unlike: set[int] = set()
        """Handles of what the two sides were not told the same about."""
        self._unlike_contexts: set[int] = set()
        self.parted = False
        """One TPM has done what the other has not, and nobody is wrong."""
        self.same: list[bytes] = []
        """The commands that were the same on both sides."""

    def run(self, step: Step) -> tuple[Outcome, list[Difference]]:
        """What came of a step on our side, and how that is not what came of it on the other."""
        ours, theirs = self.ours.run(step), self.theirs.run(step)
        alike = self._alike(step, ours, theirs)
        if step.edits:
            mismatches = list(answers.compare_codes(ours, theirs))
            if mismatches and not _comparable(step, ours, theirs):
                self.parted |= 0 in (ours.code, theirs.code)
                mismatches = []
        else:
            mismatches = list(answers.compare(step, ours, theirs, alike))
        if ours.command == theirs.command and ours.command:
            self.same.append(ours.command)
        # Theirs then forgets that the power went while an authValue was tried (part 1, 19.8.6).
        self.parted |= ours.command[6:10] == _STARTUP and ours.code == RC.VALUE + P(1)
        found = [Difference(step, ours.command, one) for one in mismatches]
        if ours.code == 0:
            self._spread(step, ours, theirs, alike)
        return ours, found

    def _handles(self, step: Step) -> list[int]:
        return [self.ours.handle(one) for one in step.handles]

    def _alike(self, step: Step, ours: Outcome, theirs: Outcome) -> bool:
        """The two TPMs were asked the same about the same."""
        same = ours.meaning == theirs.meaning and ours.names == theirs.names
        return same and not self._unlike.intersection(self._handles(step))

    def _spread(self, step: Step, ours: Outcome, theirs: Outcome, alike: bool) -> None:
        """What a step that was not the same on both sides touched is not the same either."""
        if step.name == "ContextSave":
            if self._handles(step)[0] in self._unlike:
                self._unlike_contexts.add(step.number)
            return
        if ours.handle is not None:
            self._unlike.discard(ours.handle)
            saved = {part.step for part in step.parameters if isinstance(part, Made)}
            if (not alike and step.name != "Load") or saved & self._unlike_contexts:
                self._unlike.add(ours.handle)
        if not alike:
            kinds = (0x01, 0x03) if "Sequence" not in step.name else (0x01, 0x03, 0x80)
            touched = [one for one in self._handles(step) if one >> 24 in kinds]
            self._unlike.update(touched)
        for use in step.uses:
            # An audit session hashes every octet of the command and of its answer.
            if use.session is not None and use.attributes & 0x80 and _octets(ours, theirs):
                self._unlike.add(self.ours.session_handle(use))


def _comparable(step: Step, ours: Outcome, theirs: Outcome) -> bool:
    """Whether a difference of an edited command means something.

    Where the two have octets of their own, their signatures above all, an edit that moves them
    makes sizes of them, and one in place may leave them as they are on one side.
    """
    if ours.command == theirs.command or ours.problem or theirs.problem:
        return True
    in_place = all(edit.kind == SET for edit in step.edits)
    alike = len(ours.command) == len(theirs.command) and ours.is_edited == theirs.is_edited
    return in_place and alike and 0 in (ours.code, theirs.code)


def _ways(one: T, other: T) -> tuple[tuple[T, T], tuple[T, T]]:
    return (one, other), (other, one)


def _octets(ours: Outcome, theirs: Outcome) -> bool:
    return ours.command != theirs.command or ours.fields != theirs.fields


__all__ = ["AVAILABLE", "CODES", "MISSING", "Difference", "Ours", "Pair", "Theirs"]
