"""Other processes: signals, tracing, memory, descriptors and scheduling of what is not its own."""

from __future__ import annotations

import ctypes
import os
import signal
import struct

from tests.hostile.attacker import Attacker
from tests.hostile.linux import Vector
from tests.hostile.registry import BORN, TURNED, Body, attack, killed_for, refused
from tests.hostile.victim import SECRET

BOTH = (BORN, TURNED)
NO = refused("EPERM")
_SEIZE, _TRACE_ME = 0x4206, 0
_RLIMIT_NOFILE, _FIFO = 7, 1


def _kill(who: str) -> Body:
    return lambda at: at.host.kill(at.facts.pids[who], signal.SIGCONT) == 0


for _who in ("kernel", "victim", "init", "tester"):
    attack(
        NO,
        name=f"signal-{_who}",
        text=f"Send a signal to the process {_who}.",
        open_hand=True,
    )(_kill(_who))


@attack(NO)
def signal_everybody(at: Attacker) -> object:
    """Kill every process that it can reach."""
    return at.host.kill(-1, signal.SIGKILL) == 0


@attack(NO)
def signal_own_group(at: Attacker) -> object:
    """Kill its group of processes, which might be its parent's too."""
    return at.host.kill(0, signal.SIGKILL) == 0


@attack(refused("ESRCH"), open_hand=True, programs=BOTH)
def signal_thread_of_victim(at: Attacker) -> object:
    """Signal a thread of the victim, by the one call for signals that is allowed."""
    pid = at.facts.pids["victim"]
    return at.host.tgkill(pid, pid, signal.SIGCONT) == 0


@attack(refused("ESRCH"))
def signal_by_guessing(at: Attacker) -> object:
    """Look for a thread, anybody's, that a signal reaches."""
    for pid in range(2, 2000):  # 1 is the attacker itself
        try:
            at.host.tgkill(pid, pid, 0)
            return pid
        except ProcessLookupError as error:
            last = error
    raise last


@attack(NO, open_hand=True)
def queue_signal(at: Attacker) -> object:
    """Send a signal with data that could be taken for the host's."""
    info = struct.pack("iii", signal.SIGCONT, 0, -1) + bytes(116)
    return at.host.rt_sigqueueinfo(at.facts.pids["victim"], signal.SIGCONT, info) == 0


@attack(NO, open_hand=True, programs=BOTH)
def hold_victim(at: Attacker) -> object:
    """Get a descriptor of the victim's process."""
    return at.host.pidfd_open(at.facts.pids["victim"], 0)


@attack(killed_for("pidfd_getfd"))
def steal_descriptor(at: Attacker) -> object:
    """Get a copy of a descriptor of another process."""
    return at.host.pidfd_getfd(0, 3, 0)


@attack(NO)
def signal_by_descriptor(at: Attacker) -> object:
    """Signal a process by a descriptor."""
    return at.host.pidfd_send_signal(0, signal.SIGKILL, None, 0) == 0


@attack(killed_for("ptrace"), open_hand=True, programs=BOTH)
def trace_victim(at: Attacker) -> object:
    """Control the victim as a debugger does."""
    return at.host.ptrace(_SEIZE, at.facts.pids["victim"], 0, 0) == 0


@attack(killed_for("ptrace"))
def trace_kernel(at: Attacker) -> object:
    """Control the kernel's process as a debugger does."""
    return at.host.ptrace(_SEIZE, at.facts.pids["kernel"], 0, 0) == 0


@attack(killed_for("ptrace"))
def be_traced(at: Attacker) -> object:
    """Have its parent, which is the kernel, be its debugger."""
    return at.host.ptrace(_TRACE_ME, 0, 0, 0) == 0


def _vectors(at: Attacker, data: bytes) -> tuple[Vector, Vector, ctypes.Array[ctypes.c_char]]:
    buffer = ctypes.create_string_buffer(data, len(SECRET))
    mine = Vector(ctypes.addressof(buffer), len(SECRET))
    return mine, Vector(at.facts.secret, len(SECRET)), buffer


@attack(killed_for("process_vm_readv"), open_hand=True)
def read_victim(at: Attacker) -> object:
    """Read the victim's memory, knowing where its secret is."""
    mine, theirs, buffer = _vectors(at, b"")
    pid = at.facts.pids["victim"]
    at.host.process_vm_readv(pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
    return buffer.raw == SECRET


@attack(killed_for("process_vm_writev"), open_hand=True, leaves="secret", programs=BOTH)
def write_victim(at: Attacker) -> object:
    """Write the victim's memory."""
    mine, theirs, _ = _vectors(at, SECRET.upper())
    pid = at.facts.pids["victim"]
    return at.host.process_vm_writev(pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)


@attack(killed_for("kcmp"))
def compare_with_victim(at: Attacker) -> object:
    """Learn about the victim's place in the host kernel's memory by comparing."""
    return at.host.kcmp(os.getpid(), at.facts.pids["victim"], 0, 0, 0)


@attack(NO)
def page_victim_out(at: Attacker) -> object:
    """Have the victim's memory written to disk."""
    return at.host.process_madvise(0, None, 0, 21, 0)


@attack(NO)
def take_memory_from_victim(at: Attacker) -> object:
    """Have the memory of a process given up at once."""
    return at.host.process_mrelease(0, 0)


@attack(NO)
def move_victims_pages(at: Attacker) -> object:
    """Move the victim's memory about."""
    return at.host.move_pages(at.facts.pids["victim"], 0, None, None, None, 0)


@attack(refused("ESRCH", "EPERM"), open_hand=True, programs=BOTH)
def look_up_victims_limits(at: Attacker) -> object:
    """Ask for the victim's limits, by the call that also sets them."""
    limits = ctypes.create_string_buffer(16)
    return at.host.prlimit64(at.facts.pids["victim"], _RLIMIT_NOFILE, None, limits) == 0


@attack(NO, open_hand=True)
def slow_victim_down(at: Attacker) -> object:
    """Set the priority of the victim."""
    return at.host.setpriority(os.PRIO_PROCESS, at.facts.pids["victim"], 19) == 0


@attack(NO)
def put_itself_first(at: Attacker) -> object:
    """Run before everybody else on the host."""
    return at.host.setpriority(os.PRIO_PROCESS, 0, -20) == 0


@attack(NO)
def run_in_real_time(at: Attacker) -> object:
    """Run for as long as it wants."""
    return at.host.sched_setscheduler(0, _FIFO, struct.pack("i", 99)) == 0


@attack(NO)
def run_by_deadline(at: Attacker) -> object:
    """Reserve the processor's time."""
    attributes = struct.pack("IIQiI3Q", 48, 6, 0, 0, 0, 9 * 10**8, 10**9, 10**9)
    return at.host.sched_setattr(0, attributes, 0) == 0


@attack(NO, open_hand=True)
def choose_processor(at: Attacker) -> object:
    """Choose the processor it runs on, to be next to the victim."""
    return at.host.sched_setaffinity(0, 8, struct.pack("Q", 1)) == 0


@attack(NO)
def be_first_at_disk(at: Attacker) -> object:
    """Have its disk requests served before those of others."""
    return at.host.ioprio_set(1, 0, 1 << 13) == 0


@attack(NO)
def leave_session(at: Attacker) -> object:
    """Leave the kernel's session or group of processes."""
    at.host.setpgid(0, 0)
    return at.host.setsid()


@attack(NO, open_hand=True)
def look_up_victims_group(at: Attacker) -> object:
    """Learn which group the victim is in, and so that it exists."""
    return at.host.getpgid(at.facts.pids["victim"])
