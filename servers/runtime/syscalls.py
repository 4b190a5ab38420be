"""System calls as typed methods.

Written by ``cloister abi`` from the table in ``kernel.abi``: do not edit.
"""

from __future__ import annotations

from servers.runtime.channel import Caller, Resource
from servers.runtime.errors import raise_kernel_error


class Syscalls(Caller):
    """Every system call of the kernel; errors are raised as ``KernelError``."""

    def call(
        self,
        endpoint: int,
        label: int,
        data: bytes,
        caps: list[int],
        timeout: int,
    ) -> tuple[int, bytes, list[int]]:
        """Send a message and wait for its answer; the timeout is for both, and with 0 nothing is
        sent. The receiver gets a reply capability. The capabilities are copied: the receiver's
        are derived from the sender's."""
        request = [0, endpoint, label, data, caps, timeout]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        _, label, data, caps = answer
        return label, data, caps

    def send(self, endpoint: int, label: int, data: bytes, caps: list[int], timeout: int) -> None:
        """Send a message and wait until it is received; no answer is expected."""
        request = [1, endpoint, label, data, caps, timeout]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def recv(self, endpoint: int, timeout: int) -> tuple[int, int, bytes, list[int], int]:
        """Wait for a message. The badge is the one minted into the sender's capability; reply is
        0 if none is expected. A thread with a bound notification also hears it here, under
        LABEL_NOTIFICATION."""
        request = [2, endpoint, timeout]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        _, badge, label, data, caps, reply = answer
        return badge, label, data, caps, reply

    def reply(self, reply: int, label: int, data: bytes, caps: list[int]) -> None:
        """Answer a call, once. The reply capability is used up unless the message itself is
        refused."""
        request = [3, reply, label, data, caps]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def reply_recv(
        self,
        reply: int,
        label: int,
        data: bytes,
        caps: list[int],
        endpoint: int,
        timeout: int,
    ) -> tuple[int, int, bytes, list[int], int]:
        """Answer a call and wait for the next message in one step; reply may be 0. An answer that
        cannot be delivered is dropped: its caller gets the error."""
        request = [4, reply, label, data, caps, endpoint, timeout]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        _, badge, label, data, caps, reply = answer
        return badge, label, data, caps, reply

    def signal(self, notification: int, bits: int) -> None:
        """OR bits into a notification's word. A badged capability sends its badge instead."""
        request = [5, notification, bits]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def wait(self, notification: int, timeout: int) -> int:
        """Wait until the word is not zero; return and clear it."""
        request = [6, notification, timeout]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        bits: int = answer[1]
        return bits

    def poll(self, notification: int) -> int:
        """Return and clear the word, which may be zero."""
        request = [7, notification]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        bits: int = answer[1]
        return bits

    def cap_mint(self, source: int, rights: int, badge: int, space: int) -> int:
        """Derive a capability with fewer or equal rights into a space (0: the caller's own). A
        badge can be set only where the source has none; 0 keeps the source's."""
        request = [8, source, rights, badge, space]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        slot: int = answer[1]
        return slot

    def cap_move(self, source: int, space: int) -> int:
        """Move a capability into another space; its place in the derivation tree is kept."""
        request = [9, source, space]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        slot: int = answer[1]
        return slot

    def cap_drop(self, source: int) -> None:
        """Delete a capability and unmap what was mapped through it. Capabilities derived from it
        become its parent's."""
        request = [10, source]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def cap_revoke(self, source: int) -> None:
        """Delete every capability derived from this one, in all spaces, and wait until all that
        was mapped through them is verified to be unmapped."""
        request = [11, source]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def space_create(
        self,
        name: str,
        quota: int,
        label: int,
        authority: int,
        flags: int,
        fault: int,
    ) -> int:
        """Create an address space with quota bytes taken from the caller's quota. Another label
        than the caller's needs the policy authority (else 0). Fault messages go to the endpoint,
        under the badge of that capability; 0 for none."""
        request = [12, name, quota, label, authority, flags, fault]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        slot: int = answer[1]
        return slot

    def space_destroy(self, space: int) -> None:
        """Destroy an address space with all its threads, capabilities and mappings, and the
        spaces that it created; wait until the machine has seen the end of it."""
        request = [13, space]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def frame_create(self, size: int) -> int:
        """Create a frame of zeroed memory; size is in bytes, a multiple of PAGE_SIZE."""
        request = [14, size]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        slot: int = answer[1]
        return slot

    def map(self, frame: int, rights: int) -> tuple[int, int, Resource]:
        """Map a frame with READ, or READ and WRITE. The machine hands the memory over beside the
        answer. The mapping ends with the capability."""
        answer, resource = self.invoke_resource([15, frame, rights])
        _, mapping, size = answer
        return mapping, size, resource

    def unmap(self, mapping: int) -> None:
        """End a mapping; the caller must have let go of the memory, and this is verified."""
        request = [16, mapping]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def thread_create(self, space: int, entry: str, argument: bytes, priority: int) -> int:
        """Start a thread in a space (0: the caller's own). In a new space the entry names the
        program to load; in a running one it names a function registered with the runtime. Its
        priority is at most the caller's."""
        request = [17, space, entry, argument, priority]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        slot: int = answer[1]
        return slot

    def thread_control(self, thread: int, operation: int, value: int) -> None:
        """Control a thread (0: the caller) as ThreadOp says."""
        request = [18, thread, operation, value]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def thread_exit(self, fault: int, reason: str) -> None:
        """End the calling thread, with fault EXIT or EXCEPTION; does not return then. With its
        first thread, or an EXCEPTION, the space ends."""
        request = [19, fault, reason]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def endpoint_create(self) -> int:
        """Create an endpoint; the capability has all rights."""
        request = [20]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        slot: int = answer[1]
        return slot

    def notification_create(self) -> int:
        """Create a notification with an empty word."""
        request = [21]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        slot: int = answer[1]
        return slot

    def device_map(self, device: int, rights: int) -> tuple[int, Resource]:
        """Get access to a device with READ, or READ and WRITE. The machine hands it over beside
        the answer; size is in bytes, 0 for a stream."""
        answer, resource = self.invoke_resource([22, device, rights])
        _, size = answer
        return size, resource

    def link_create(self) -> int:
        """Create a link between a client and a server; the capability has all rights."""
        request = [23]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        slot: int = answer[1]
        return slot

    def link_open(self, link: int, end: int) -> Resource:
        """Get one end of a link, once: SEND for the client's, RECEIVE for the server's. The
        machine hands it over beside the answer. The link ends with the capability."""
        return self.invoke_resource([24, link, end])[1]

    def irq_bind(self, device: int, notification: int, bits: int) -> None:
        """Signal bits to a notification when the device has something to read, as long as both
        capabilities are there; masked until the first irq_ack."""
        request = [25, device, notification, bits]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def irq_ack(self, device: int) -> None:
        """Acknowledge the device's interrupt: unmask it for one more."""
        request = [26, device]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def label_allow(self, authority: int, first: int, second: int, allowed: int) -> None:
        """Let two labels talk (allowed 1) or not (0). Taking a pair away revokes what it let
        through."""
        request = [27, authority, first, second, allowed]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])

    def clock(self) -> int:
        """The machine's monotonic time, in nanoseconds."""
        request = [28]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        now: int = answer[1]
        return now

    def debug(self, authority: int, operation: int, start: int) -> tuple[bytes, int]:
        """Report kernel state as DebugOp says: msgpack rows, and the start of the next page or
        0."""
        request = [29, authority, operation, start]
        answer = self.exchange(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        _, rows, next = answer
        return rows, next
