"""Frames as memory files, and the proof that a mapping is gone.

A frame is a memfd that can neither grow nor shrink; a space that may only read it gets a descriptor
opened for reading, through which it cannot be mapped for writing, now or later.

When a mapping ends, its process is asked to let go and says when it has.  That is not believed: the
process is stopped, so that nothing moves while it is looked at, and neither its memory nor its
descriptors may lead to the frame, nor may an answer with the frame's descriptor be waiting for it
unread.  It has until ``PATIENCE`` after the revocation; then it is killed, which ends the mapping
too.  Other mappings of the frame that the space still has are allowed for: if one is for writing
there is nothing to prove; if all are for reading, nothing that can write may be left.  The sandbox
closes the other places where memory could be hidden: tables of descriptors that threads do not
share, pipes, sockets, io_uring.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from functools import partial
from typing import Final

from kernel.abi import Fault
from kernel.kernel import Frame, Kernel, Mapping
from kernel.machine.host.process import Process

PATIENCE: Final = 2_000_000_000
"""Nanoseconds that a process has to let go of a mapping."""
_LOOK_AGAIN: Final = 20_000_000
_STOPPING: Final = 500_000
After = Callable[[int, Callable[[], None]], None]
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def hand_over(frame: Frame, writable: bool) -> int:
    """A new descriptor of the frame's memory; raises ``OSError``."""
    if frame.machine is None:
        fd = os.memfd_create(f"frame{frame.id}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, frame.size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        os.fchmod(fd, 0o400)  # opened again, it is for reading
        frame.machine = fd
    if writable:
        return os.dup(frame.machine)
    return os.open(f"/proc/self/fd/{frame.machine}", os.O_CLOEXEC | os.O_NONBLOCK)


def drop(frame: Frame) -> None:
    """Free the memory."""
    if frame.machine is not None:
        os.close(frame.machine)
        frame.machine = None


class Verifier:
    """Sees to it that mappings end; ``after`` calls back later, ``post`` tells the kernel.

    A mapping's ``machine`` is None until its descriptor is sent, then whether it is let go of.
    """

    def __init__(self, kernel: Kernel, after: After, post: Callable[..., None]) -> None:
        self._kernel, self._after, self._post = kernel, after, post

    def unmap(self, mapping: Mapping, asked: bool) -> None:
        """End a mapping of a space that has a process."""
        process = mapping.space.machine
        if mapping.machine is None:  # its descriptor never left the kernel
            self._post(self._kernel.unmapped, mapping)
            return
        self._after(PATIENCE, partial(self._disobeyed, mapping))
        if asked:
            mapping.machine = True
            self._look(process)
        else:
            process.notify(0, mapping.id)

    def let_go(self, process: Process, mapping: int) -> None:
        """The process says that it has let go of a mapping."""
        found = process.space.mappings.get(mapping)
        if found is not None and found.removing and found.machine is not None:
            found.machine = True
            self._look(process)

    def _disobeyed(self, mapping: Mapping) -> None:
        space = mapping.space
        if mapping.id in space.mappings and space.alive:
            detail = "kept a mapping that was revoked"
            self._post(self._kernel.died, space, Fault.DISOBEYED, detail)

    def _look(self, process: Process) -> None:
        """Stop the process, and go on when it has."""
        if not process.looked_at and not process.killed:
            process.look_at(True)
            self._verify(process)

    def _verify(self, process: Process) -> None:
        for _ in range(20):
            if process.killed or process.has(os.WSTOPPED | os.WEXITED):
                return self._prove(process)
            os.sched_yield()
        return self._after(_STOPPING, partial(self._verify, process))

    def _prove(self, process: Process) -> None:
        """Look at a process that has stopped, or ends."""
        left: dict[Frame, list[Mapping]] = {}
        for mapping in process.space.mappings.values():
            if mapping.removing and mapping.machine is not None:
                left.setdefault(mapping.frame, []).append(mapping)
        again = False
        for frame, mappings in left.items():
            if not all(mapping.machine for mapping in mappings):
                continue  # what it still holds may be that one's
            if self._gone(process, frame):
                for mapping in mappings:
                    self._post(self._kernel.unmapped, mapping)
            else:
                again = True
        process.look_at(False)
        if again and not process.killed:
            self._after(_LOOK_AGAIN, partial(self._look, process))

    @staticmethod
    def _gone(process: Process, frame: Frame) -> bool:
        """Whether the stopped process can reach the frame through its other mappings alone."""
        others = [
            other.writable
            for other in process.space.mappings.values()
            if other.frame is frame and not other.removing
        ]
        if any(others):
            return True
        if process.unread():
            return False
        try:
            return not _reaches(process.pid, frame.machine, to_write=bool(others))
        except OSError:  # it is ending
            return False


def _reaches(pid: int, fd: int, to_write: bool) -> bool:
    """Whether a process maps or has open what ``fd`` is; with ``to_write``, so as to write it."""
    ours = os.fstat(fd)
    place = f" {os.major(ours.st_dev):02x}:{os.minor(ours.st_dev):02x} {ours.st_ino} "
    with open(f"/proc/{pid}/{'smaps' if to_write else 'maps'}") as file:
        maps = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", file.read())
    # Its first thread hides the memory of the others by having ended.
    if not maps[0] or any(place in one and (not to_write or " mw " in one) for one in maps):
        return True
    for entry in os.scandir(f"/proc/{pid}/fd"):
        writable = entry.stat(follow_symlinks=False).st_mode & 0o200
        if os.path.samestat(entry.stat(), ours) and (writable or not to_write):
            return True
    return False
