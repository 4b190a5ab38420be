"""The sim machine: all of user mode in one process, under a seeded scheduler and a virtual clock.

Runs on any platform, deterministically: a run is reproduced by its seed and its input.
"""

from kernel.machine.sim.devices import SimDevice
from kernel.machine.sim.machine import Deadlock, Program, SimMachine

__all__ = ["Deadlock", "Program", "SimDevice", "SimMachine"]
