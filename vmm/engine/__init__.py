"""CPU engines: what executes the guest's instructions.

``interface.py`` is the contract; each engine is a package of its own.  An engine knows registers,
guest memory and interrupt lines, and nothing of devices.
"""

from __future__ import annotations

from vmm.engine.interface import Callbacks, Engine, EngineError

ENGINES = ("soft", "kvm")


def create(name: str, callbacks: Callbacks, cpu: str, kvm: int = -1) -> Engine:
    """Make an engine by its name in a machine's configuration.

    ``cpu`` is the model that the software engine shows; ``kvm`` a descriptor of /dev/kvm.
    """
    if name == "soft":
        from vmm.engine.unicorn.engine import UnicornEngine

        return UnicornEngine(callbacks, cpu)
    if name == "kvm":
        from vmm.engine.kvm.engine import KvmEngine

        return KvmEngine(callbacks, kvm)
    raise EngineError(f"there is no CPU engine {name!r}; known are {', '.join(ENGINES)}")


def choose(wanted: str, kvm: int) -> str:
    """The engine for ``auto``, ``soft`` or ``kvm``; ``kvm`` is a descriptor, -1 if there is none.

    Raises ``EngineError`` where KVM is wanted and not there.
    """
    if wanted == "kvm" and kvm < 0:
        raise EngineError("this host offers no /dev/kvm, or not to you; use the engine 'soft'")
    if wanted != "auto":
        return wanted
    if kvm < 0:
        return "soft"
    from vmm.engine.kvm import probe

    return "soft" if probe.why_not(kvm) else "kvm"


def prepare() -> None:
    """Load what the engines need from files, before a sandbox takes that away; in the main thread.

    Which engine it will be is not known yet.
    """
    from vmm.engine.kvm import probe as kvm
    from vmm.engine.unicorn import engine as soft

    soft.prepare()
    kvm.prepare()
