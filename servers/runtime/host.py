"""The runtime's side of the host machine: channels are pipes, frames are descriptors.

A process is born with three descriptors.  ``REQUESTS`` takes the system calls of its first thread,
``ANSWERS`` brings their answers; ``NOTICE`` carries what the kernel asks of the process as a whole:
to let go of a mapping that is revoked, and to start another thread, whose channel comes with the
notice.  It also brings the descriptors that calls asked for.  A thread of its own answers the
notices, from the first one that can come on.
"""

from __future__ import annotations

import ctypes
import gc
import os
import queue
import select
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn

import msgpack

from kernel.abi import MAX_FRAME
from servers.runtime.channel import Channel, DeviceAccess, Event, LinkEnd, Memory, Resource
from servers.runtime.errors import ProcessFailed
from servers.runtime.start import exit_thread, prepared

REQUESTS: Final = 3
"""Descriptor of the first thread's system calls."""
NOTICE: Final = 4
"""Descriptor of the notice channel."""
ANSWERS: Final = 5
"""Descriptor of the first thread's answers."""
RELEASE: Final = 0
"""Notice ``[RELEASE, mapping]``: let go of a mapping, and answer with its number in 8 bytes."""
THREAD: Final = 1
"""Notice ``[THREAD, entry, argument]`` with two descriptors: run a thread on that channel."""
HANDED: Final = 2
"""Notice ``[HANDED]`` with the descriptor that a system call asked for; its answer comes next."""

_PROT_READ, _PROT_WRITE = 1, 2
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 0x01, 0x02, 0x10, 0x20
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_SWITCH_INTERVAL = 0.0005
"""Seconds after which a computing thread yields the interpreter to one that has work."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

_read, _write = os.read, os.write
_pack: Final = msgpack.Packer(autoreset=True).pack
_unpack: Final = msgpack.unpackb

Entry = Callable[[Channel, bytes], None]


def _mmap(address: int | None, size: int, protection: int, flags: int, fd: int) -> int:
    found = _libc.mmap(address, size, protection, flags, fd, 0)
    if found in (None, ctypes.c_void_p(-1).value):
        raise MemoryError(f"mapping {size} bytes: {os.strerror(ctypes.get_errno())}")
    return int(found)


class HostMemory:
    """A shared mapping of a frame's descriptor."""

    def __init__(self, fd: int, size: int, writable: bool, forget: Callable[[], object]) -> None:
        self._forget = forget
        protection = _PROT_READ | _PROT_WRITE if writable else _PROT_READ
        self._size = size
        self.address = _mmap(None, size, protection, _MAP_SHARED, fd)
        memory = (ctypes.c_char * size).from_address(self.address)
        # The last view of it keeps the address space, whatever has come to be there.
        weakref.finalize(memory, _libc.munmap, self.address, size).atexit = False
        view = memoryview(memory).cast("B")
        self.view = view if writable else view.toreadonly()

    def close(self) -> None:
        """Put zeros in its place: views that are left elsewhere stay harmless."""
        self._forget()
        flags = _MAP_PRIVATE | _MAP_FIXED | _MAP_ANONYMOUS
        try:
            _mmap(self.address, self._size, _PROT_READ | _PROT_WRITE, flags, -1)
        except MemoryError:  # more than this process may have: then it is zeros to read alone
            _mmap(self.address, self._size, _PROT_READ, flags, -1)


class HostDevice:
    """A descriptor that the kernel handed over for a device."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def read_into(self, offset: int, buffers: list[memoryview]) -> int:
        return os.preadv(self.fd, buffers, offset)

    def write_from(self, offset: int, buffers: list[memoryview]) -> int:
        return os.pwritev(self.fd, buffers, offset)

    def sync(self) -> None:
        os.fdatasync(self.fd)

    def read(self, size: int) -> bytes:
        return os.read(self.fd, size)

    def write(self, data: bytes) -> int:
        return os.write(self.fd, data)


class HostLink:
    """A socket to another process, which the kernel can cut."""

    def __init__(self, fd: int) -> None:
        self.send = partial(os.write, fd)  # no method, because that takes longer
        self.receive = partial(os.read, fd, MAX_FRAME)
        self._ready = select.poll()
        self._ready.register(fd, select.POLLIN)

    def wait(self, timeout: int) -> bool:
        return bool(self._ready.poll(timeout / 1e6))


class HostEvent:
    """A flag for the threads of this process."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._set = False

    def set(self) -> None:
        with self._condition:
            self._set = True
            self._condition.notify()

    def wait(self, timeout: int | None) -> bool:
        with self._condition:
            if not self._set:
                self._condition.wait(None if timeout is None else timeout / 1e9)
            was, self._set = self._set, False
            return was


class HostProcess:
    """This process: what its threads share."""

    def __init__(self, notices: socket.socket, kernel_gone: Callable[[], None]) -> None:
        self._notices = notices
        self._kernel_gone = kernel_gone
        self._handed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.handing = threading.Lock()  # for one thread at a time
        self._entries: dict[str, Entry] = {}
        self._memory: dict[int, HostMemory] = {}
        self._gone: set[int] = set()  # revoked before their answer to ``map`` was read
        self._lock = threading.Lock()
        self._listening = False

    def handed(self) -> int:
        """The descriptor that a system call asked for, which was answered."""
        return self._handed.get()

    def map(self, fd: int, mapping: int, size: int, writable: bool) -> HostMemory:
        try:
            memory = HostMemory(fd, size, writable, lambda: self._memory.pop(mapping, None))
        finally:
            os.close(fd)
        with self._lock:
            if mapping in self._gone:
                self._gone.discard(mapping)
                memory.close()
            else:
                self._memory[mapping] = memory
        return memory

    def _release(self, mapping: int) -> None:
        with self._lock:
            memory = self._memory.pop(mapping, None)
            if memory is None:
                self._gone.add(mapping)
            else:
                memory.close()

    def register(self, entry: str, function: Entry) -> None:
        self._entries[entry] = function
        self.listen()

    def listen(self) -> None:
        """Start answering notices."""
        with self._lock:
            if not self._listening:
                self._listening = True
                threading.Thread(target=self._answer_notices, daemon=True).start()

    def _answer_notices(self) -> None:
        notices = self._notices
        while True:
            frame, fds, _, _ = socket.recv_fds(notices, MAX_FRAME, 2)
            if not frame:
                return self._kernel_gone()
            kind, *rest = _unpack(frame)
            if kind == RELEASE:
                self._release(rest[0])
                notices.send(rest[0].to_bytes(8, "little"))
            elif kind == HANDED:
                self._handed.put(fds[0])
            elif kind == THREAD:
                entry, argument = rest
                channel = HostChannel(fds[0], fds[1], self)
                body = self._entries.pop(entry, None)
                thread = threading.Thread(
                    target=_run_thread, args=(channel, body, argument), name=entry, daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # the host has none left for us
                    exit_thread(channel, _no_thread)


def _no_thread() -> NoReturn:
    raise ProcessFailed("the host lets this process have no other thread")


def _run_thread(channel: HostChannel, body: Entry | None, argument: bytes) -> None:
    if body is not None:
        exit_thread(channel, lambda: body(channel, argument))


def _leave() -> NoReturn:
    """The kernel ended this thread, and with the first thread the process; or it is gone."""
    if threading.current_thread() is threading.main_thread():
        os._exit(0)
    sys.exit()


class HostChannel:
    """One thread's pipes to the kernel and back."""

    def __init__(
        self,
        requests: int,
        answers: int,
        process: HostProcess,
        leave: Callable[[], NoReturn] = _leave,
    ) -> None:
        self._leave = leave
        self._process = process
        self._requests, self._answers = requests, answers

    def exchange(self, request: list[Any]) -> list[Any]:
        try:
            _write(self._requests, _pack(request))
            answer = _read(self._answers, MAX_FRAME)
        except BrokenPipeError:
            self._leave()
        if not answer:
            self._leave()
        found: list[Any] = _unpack(answer)
        return found

    def exchange_resource(self, request: list[Any]) -> tuple[list[Any], Resource]:
        self._process.listen()
        with self._process.handing:
            answer = self.exchange(request)
            return answer, None if answer[0] else self._process.handed()

    def close(self) -> None:
        """Hang up."""
        os.close(self._requests)
        os.close(self._answers)

    def memory(self, resource: Resource, mapping: int, size: int, writable: bool) -> Memory:
        return self._process.map(resource, mapping, size, writable)

    def device(self, resource: Resource) -> DeviceAccess:
        return HostDevice(resource)

    def link(self, resource: Resource) -> LinkEnd:
        return HostLink(resource)

    parallel = True

    def event(self) -> Event:
        return HostEvent()

    def register(self, entry: str, function: Entry) -> None:
        self._process.register(entry, function)


def operator_channel(
    requests: int, answers: int, notices: socket.socket, why: Callable[[], str]
) -> HostChannel:
    """The operator's channel of a host machine, for the tools.

    Its calls raise ``ConnectionError`` once the kernel is gone, with what ``why`` says then.
    """

    def gone() -> NoReturn:
        raise ConnectionError(why())

    return HostChannel(requests, answers, HostProcess(notices, lambda: None), gone)


def _tighten(program: bytes) -> None:
    """Install the filter that forbids what only importing needed; ``program`` is BPF."""

    class Filter(ctypes.Structure):
        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    buffer = ctypes.create_string_buffer(program, len(program))
    filters = Filter(len(program) // 8, ctypes.addressof(buffer))
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filters), 0, 0):
        raise OSError(ctypes.get_errno(), "installing the second seccomp filter")


def run() -> None:
    """Be a user-mode process: receive what to run, run it, and leave."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    notices = socket.socket(fileno=NOTICE)
    entry, argument, program, _ = _unpack(notices.recv(2 * MAX_FRAME))
    channel = HostChannel(REQUESTS, ANSWERS, HostProcess(notices, lambda: os._exit(0)))

    def body() -> object:
        run = prepared(entry, argument)
        if program:
            _tighten(program)
        gc.collect()
        gc.freeze()
        return run(channel)

    exit_thread(channel, body)
    time.sleep(1)  # the kernel ends the process; do not race it to an exit status
