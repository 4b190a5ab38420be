"""The board's backends, as clients of the system's services.

The vCPU thread never waits for a service.  Output goes through a queue to a thread of its own; disk
requests go into the packet stream; answers, input and random numbers arrive on the *service
thread*, which waits on one notification and posts to the board.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from drivers.block.client import BlockClient
from drivers.block.interface import FLUSH, READ, WRITE, Status
from drivers.entropy.interface import MOST, Entropy
from drivers.net.client import LinkClient
from servers.console.interface import Console
from servers.runtime import Environment, KernelError, Notification, Right, ServiceError, TimedOut
from tpm.interface import BUFFER_SIZE, FAILURE, TpmDevice, TpmPlatform, Version
from vmm.backends import SECTOR, BlockOperation, BlockRequest, BlockStatus
from vmm.boot import BootError
from vmm.config import DiskConfig, NicConfig

INPUT = 1
ENTROPY = 2
DISK = 4
"""Bit of the first disk; each further disk has the next one."""
NET = 1 << 40
"""Bit of the first network adapter; each further one has the next one."""
LISTEN = 1 << 63
"""Not a bit of the word: attach to the console, which may be another one than before."""
LISTEN_AGAIN = 2_000_000_000
"""Nanoseconds without any event after which the console is asked to listen again."""
INPUT_PIECE = 4096
BACKLOG = 256 * 1024
"""Bytes of output that wait for the console before the guest has to."""
RETRIES = 8
"""How often a call to a service that died is repeated with the next one."""

T = TypeVar("T")

_OPERATIONS = {
    BlockOperation.READ: READ,
    BlockOperation.WRITE: WRITE,
    BlockOperation.FLUSH: FLUSH,
}


class Output:
    """The serial port's output, on its way to the console."""

    def __init__(self, env: Environment) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self._more = env.event()
        self._less = env.event()
        env.thread(self._run, "output")

    def write(self, data: bytes) -> None:
        with self._lock:
            self._chunks.append(data)
            self._size += len(data)
        self._more.set()
        while self._size > BACKLOG:
            self._less.wait(None)

    def drain(self) -> None:
        """Return once the console has everything."""
        while self._size:
            self._less.wait(None)

    def _run(self, env: Environment) -> None:
        console = env.open(Console, "console", retries=RETRIES)
        while True:
            while self._chunks:
                with self._lock:
                    data = b"".join(self._chunks)
                    self._chunks.clear()
                for start in range(0, len(data), INPUT_PIECE):
                    _try(console.write, data[start : start + INPUT_PIECE])
                with self._lock:
                    self._size -= len(data)
                self._less.set()
            self._more.wait(None)


def _try(call: Callable[[T], None], argument: T) -> None:
    """Call a service whose failure must not end the guest."""
    try:
        call(argument)
    except (KernelError, ServiceError):
        pass


class Disk:
    """A session with a block driver, as the board's block backend."""

    def __init__(self, env: Environment, name: str, word: Notification, bit: int, read_only: bool):
        self._client = BlockClient(env, name, word, bit, prompt=env.parallel)
        self._system = env.system
        self.sectors = self._client.size // SECTOR
        self.read_only = read_only or not self._client.writable

    def submit(self, request: BlockRequest) -> None:
        def done(status: Status) -> None:
            request.complete(BlockStatus.OK if status is Status.OK else BlockStatus.ERROR)

        self._client.submit(
            _OPERATIONS[request.operation], request.sector * SECTOR, request.buffers, done
        )

    def poll(self, env: Environment) -> None:
        """Complete what was answered; on the service thread."""
        self._client.poll(env.system)


class Randomness:
    """The entropy driver, asked on the service thread."""

    def __init__(self, word: Notification) -> None:
        self._word = word
        self._wanted: deque[tuple[int, Callable[[bytes], None]]] = deque()

    def request(self, count: int, deliver: Callable[[bytes], None]) -> None:
        self._wanted.append((count, deliver))
        self._word.signal(ENTROPY)

    def serve(self, entropy: Entropy) -> None:
        """Fetch what was asked for."""
        while self._wanted:
            count, deliver = self._wanted.popleft()
            try:
                data = entropy.read(min(count, MOST))
            except (KernelError, ServiceError):
                self._wanted.appendleft((count, deliver))
                return  # tried again with the next event
            deliver(data)


class GuestTpm:
    """The TPM's process, as the board's backend.

    Commands of the guest are handed to a thread that waits for their answers.  What the board asks
    before the guest runs is asked on the thread that asks.
    """

    buffer_size = BUFFER_SIZE

    def __init__(self, env: Environment, version: Version) -> None:
        self.version = version
        self.established = False
        self._platform = env.open(TpmPlatform, "tpm-platform")
        self._resets = env.open(TpmPlatform, "tpm-platform", retries=RETRIES)
        self._work: deque[Callable[[TpmDevice], None]] = deque()
        self._more = env.event()
        env.thread(self._run, "tpm")

    def submit(self, command: bytes, locality: int, complete: Callable[[bytes], None]) -> None:
        def execute(device: TpmDevice) -> None:
            try:
                response = device.execute(command, locality)
            except (KernelError, ServiceError):  # it died: another one has no power yet
                response = FAILURE[self.version]
            complete(response)

        self._hand_over(execute)

    def cancel(self) -> None:
        """The process is at work on the command until it is done, and hears nothing else."""

    def reset_established(self, locality: int) -> None:
        def reset(device: TpmDevice) -> None:
            try:
                if device.reset_established(locality):
                    self.established = False
            except (KernelError, ServiceError):
                pass

        self._hand_over(reset)

    def reset(self) -> None:
        try:
            self._resets.reset()
            self.established = self._platform.facts().established
        except (KernelError, ServiceError) as error:
            raise BootError(f"the guest's TPM does not start: {error}") from None

    def execute(self, command: bytes, locality: int) -> bytes:
        try:
            return self._platform.execute(command, locality)
        except (KernelError, ServiceError) as error:
            raise BootError(f"the guest's TPM failed: {error}") from None

    def _hand_over(self, work: Callable[[TpmDevice], None]) -> None:
        self._work.append(work)
        self._more.set()

    def _run(self, env: Environment) -> None:
        device = env.open(TpmDevice, "tpm")
        while True:
            while self._work:
                self._work.popleft()(device)
            self._more.wait(None)


class Services:
    """All backends of one board, and the thread that serves them."""

    def __init__(
        self,
        env: Environment,
        disks: list[DiskConfig],
        tpm: Version | None,
        nics: Sequence[NicConfig] = (),
    ) -> None:
        """``tpm`` is the version of the guest's TPM."""
        self._word = env.notification()
        self.output = Output(env)
        self.entropy = Randomness(self._word) if env.has("entropy") else None
        self.disks = [
            Disk(env, f"disk{i}", self._word, DISK << i, disk.read_only)
            for i, disk in enumerate(disks)
        ]
        self.links = [
            LinkClient(env, f"net{i}", self._word, NET << i, nic.port, prompt=env.parallel)
            for i, nic in enumerate(nics)
        ]
        self.tpm = GuestTpm(env, tpm) if tpm else None

    def say(self, text: str) -> None:
        """Tell the person something, among what the guest says."""
        self.output.write(f"\r\ncloister: {text}\r\n".encode())

    def serve(self, env: Environment, receive: Callable[[bytes], None]) -> None:
        """Start the service thread; ``receive`` takes the console's input."""
        env.thread(lambda own: self._run(own, receive), "services")

    def _run(self, env: Environment, receive: Callable[[bytes], None]) -> None:
        word = self._word.bind(env.system)
        console = env.open(Console, "console", retries=RETRIES)
        input_signal = word.mint(Right.SEND | Right.GRANT, INPUT)
        entropy = env.open(Entropy, "entropy", retries=RETRIES) if self.entropy else None
        bits = LISTEN
        while True:
            if bits & LISTEN:
                _try(console.attach, input_signal)
                bits |= INPUT  # what was typed before somebody listened
            if bits & INPUT:
                self._receive(console, receive)
            if bits & ENTROPY and self.entropy and entropy:
                self.entropy.serve(entropy)
            for index, disk in enumerate(self.disks):
                if bits & DISK << index:
                    disk.poll(env)
            for index, link in enumerate(self.links):
                if bits & NET << index:
                    link.poll()
            try:
                bits = word.wait(LISTEN_AGAIN)
            except TimedOut:
                bits = LISTEN

    def _receive(self, console: Console, receive: Callable[[bytes], None]) -> None:
        try:
            while data := console.read(INPUT_PIECE):
                receive(data)
        except (KernelError, ServiceError):
            pass  # the next console server has the next input
