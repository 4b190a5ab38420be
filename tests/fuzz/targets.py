"""All targets, by the names of their folders in the corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz import answers, calls, descriptions, disks, frames, guests, images, rings

CORPUS: Final = Path(__file__).parent / "corpus"


class Target(NamedTuple):
    """A function of bytes that raises only if a promise is broken."""

    run: Callable[[bytes], None]
    examples: int
    """How many hypothesis tries in the tests' default run: a second's worth, or less."""
    longest: int = 400
    """Bytes of a script that make a difference."""


TARGETS: Final = {
    "frame": Target(frames.raw, 300),
    "kernel": Target(frames.target, 150),
    "calls": Target(calls.target, 150),
    "calls-raw": Target(calls.raw, 80),
    "answers": Target(answers.target, 600, 200),
    "answers-raw": Target(answers.raw, 300, 100),
    "rings": Target(rings.target, 300),
    "disk-client": Target(disks.target, 120),
    "description-text": Target(descriptions.text, 300),
    "description-table": Target(descriptions.target, 300),
    "image": Target(images.target, 300, 120),
    "image-raw": Target(images.raw, 100),
    "packed": Target(images.packed, 200),
    "payload": Target(images.payload, 200, 120),
    "kernel-elf": Target(images.kernel, 150, 120),
    "virtio": Target(guests.queues, 300),
    "board": Target(guests.board, 100),
    "report": Target(guests.reports, 150, 600),
}


def corpus(name: str) -> list[Path]:
    """The files of a target's corpus."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())
