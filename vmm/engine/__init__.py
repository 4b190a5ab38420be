"""CPU engines: what executes the guest's instructions.

``interface.py`` is the contract; each engine is a package of its own.  An engine knows registers,
guest memory and interrupt lines, and nothing of devices.
"""

from __future__ import annotations

from vmm.engine.interface import Callbacks, Engine, EngineError

ENGINES = ("soft",)


def create(name: str, callbacks: Callbacks, cpu: str) -> Engine:
    """Make an engine by its name in a machine's configuration."""
    if name != "soft":
        raise EngineError(f"there is no CPU engine {name!r}; known are {', '.join(ENGINES)}")
    from vmm.engine.unicorn.engine import UnicornEngine

    return UnicornEngine(callbacks, cpu)


def prepare(name: str) -> None:
    """Load what an engine needs from files, before a sandbox takes that away."""
    if name == "soft":
        from vmm.engine.unicorn.engine import prepare as prepare_unicorn

        prepare_unicorn()
