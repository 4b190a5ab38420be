"""The same attacks without the sandbox: they succeed, so it is the sandbox that foils them.

Here too a process is started by the kernel and talks to it; only the layers around it are missing.
Attacks that could harm the host then are not among these: the program refuses to try them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile import attacks as _attacks
from tests.hostile.registry import ATTACKS, BORN, Attack
from tests.hostile.rig import Range
from tools.isolation.layers import LAYERS

assert _attacks
_CAUTION = Path("/proc/sys/kernel/yama/ptrace_scope")
_OF_DEBUGGERS = ("trace-victim", "read-victim", "write-victim")
OPEN = [attack for attack in ATTACKS.values() if attack.open_hand]
HARMFUL = [attack for attack in ATTACKS.values() if not attack.open_hand]


@pytest.fixture(scope="session")
def open_range() -> Iterator[Range]:
    with Range(without=tuple(LAYERS)) as booted:
        yield booted


@pytest.fixture
def unfenced(open_range: Range) -> Range:
    """The system without any layer, as if nobody had attacked yet."""
    open_range.restore()
    return open_range


@pytest.mark.parametrize("attack", OPEN, ids=lambda attack: f"{attack.group}-{attack.name}")
def test_attack_succeeds(unfenced: Range, attack: Attack) -> None:
    before = unfenced.traces()
    said = unfenced.attack(attack.name, BORN)
    if said.startswith(("not here: ", "refused: ENOSYS")):
        pytest.skip(said)
    if _CAUTION.exists() and int(_CAUTION.read_text()) and attack.name in _OF_DEBUGGERS:
        pytest.skip("this host lets nobody look into another's memory anyway")
    assert said.startswith("SUCCEEDED: "), said
    if attack.leaves:
        assert attack.leaves in unfenced.traces().changed(before), "it left nothing where one looks"


@pytest.mark.parametrize("attack", HARMFUL[::60], ids=lambda attack: attack.name)
def test_harmful_attack_is_not_even_tried(unfenced: Range, attack: Attack) -> None:
    said = unfenced.attack(attack.name, BORN)
    assert "is never tried without the sandbox" in said


ONE_LESS = {
    # layer: an attack that it foils, and whether that succeeds once it alone is gone
    "Landlock": ("read-passwd", True),
    "seccomp": ("socket-unix", True),
    "pid namespace": ("signal-thread-of-victim", False),  # users are kept apart as well
}


@pytest.mark.parametrize("layer", ONE_LESS)
def test_layers_foil_one_by_one(layer: str) -> None:
    name, succeeds = ONE_LESS[layer]
    with Range(without=(layer,), held=True) as arena:
        said = arena.attack(name, BORN)
    assert said.startswith("SUCCEEDED" if succeeds else "refused"), said
