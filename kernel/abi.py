"""All that crosses the boundary between the kernel and user mode.

Numbers, errors, rights, limits and the one table of system calls.  The kernel's dispatcher,
the runtime's stubs (``servers/runtime/syscalls.py``) and ``docs/abi.md`` all come from
``CALLS`` below; nothing else may define a call.

A request is one msgpack array ``[number, argument, ...]``, its answer is
``[error, result, ...]``.  Arrays are used instead of maps because they decode three times
faster.  A message's payload is a single ``bin`` that the kernel never looks into.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

PAGE_SIZE: Final = 4096
"""Frames are a whole number of pages, in bytes."""
MAX_PAYLOAD: Final = 64 * 1024
"""The longest payload of one message, in bytes."""
MAX_CAPS: Final = 8
"""The most capabilities one message carries."""
MAX_FRAME: Final = MAX_PAYLOAD + 1024
"""The longest encoded request, in bytes: a payload and the array around it."""
MAX_NAME: Final = 64
"""The longest name of an address space or an entry point, in bytes of UTF-8."""
MAX_DETAIL: Final = 1024
"""The longest detail of a fault message, in bytes of UTF-8; what is longer is cut off."""
MAX_ARGUMENT: Final = MAX_PAYLOAD
"""The longest argument that a new thread is started with, in bytes."""

FOREVER: Final = -1
"""A timeout that never ends.  Other timeouts are nanoseconds; 0 does not block."""
NULL: Final = 0
"""The capability number that names nothing; in calls that say so, the caller's own object."""

LABEL_LIMIT: Final = 1 << 32
"""Message labels of user mode are below this; the kernel's own messages are labelled above."""
LABEL_NOTIFICATION: Final = LABEL_LIMIT
"""Label under which a receiver hears its bound notification; the badge is the word of bits."""
LABEL_FAULT: Final = LABEL_LIMIT + 1
"""Label of a fault message; the payload is msgpack ``[fault, thread, detail]``."""

OBJECT_COST: Final = 4096
"""Bytes of quota charged for a kernel object other than a frame, a space or a thread."""
CAPABILITY_COST: Final = 1024
"""Bytes of quota charged for a capability in a table."""
THREAD_COST: Final = 2 * MAX_PAYLOAD
"""Bytes of quota charged for a thread: its record and the one message it may have pending."""
SPACE_COST: Final = 16 * 1024
"""Bytes of quota charged to the creator for an address space, beside the quota it hands on."""
LINK_COST: Final = 256 * 1024
"""Bytes of quota charged for a link: what can wait in it, both ways."""
MAPPING_COST: Final = 512
"""Bytes of quota charged for a mapping of a frame."""


class Error(IntEnum):
    """How a system call ended; the first element of every answer."""

    OK = 0
    BAD_CAPABILITY = 1
    """The capability number names nothing in the caller's table, or not an object of this kind."""
    NO_RIGHT = 2
    """The capability lacks a right that the call needs."""
    BAD_ARGUMENT = 3
    """An argument is out of its range."""
    NO_QUOTA = 4
    """The memory quota that would be charged is used up."""
    TIMED_OUT = 5
    """The timeout ended first."""
    SERVER_DIED = 6
    """Whoever was to answer is gone, or dropped the right to answer."""
    DENIED = 7
    """The labels of the two sides may not talk."""
    RECEIVER_FULL = 8
    """The receiver has no quota left for the capabilities of the message."""
    CANCELLED = 9
    """The object that the caller was blocked on was revoked or destroyed."""
    IN_USE = 10
    """The object is bound already."""
    NO_DEVICE = 11
    """The machine could not provide what is behind a device, a frame or a link."""


class Right(IntFlag):
    """What a capability allows.  A derived capability never has a right its parent lacks."""

    READ = 1
    """Map a frame or device for reading; inspect."""
    WRITE = 2
    """Map a frame or device for writing."""
    SEND = 4
    """Send to or call an endpoint; signal a notification."""
    RECEIVE = 8
    """Receive from an endpoint; wait for a notification."""
    CONTROL = 16
    """Change a space or thread, bind and acknowledge a device's interrupt, use an authority."""
    GRANT = 32
    """Pass the capability on: in a message, by mint or move into another space."""


ALL_RIGHTS: Final = Right(63)


class Fault(IntEnum):
    """Why a thread or an address space ended; the first element of a fault message."""

    EXIT = 0
    """It called ``thread_exit``; the detail is its reason, empty for success."""
    EXCEPTION = 1
    """The runtime reported an unhandled exception; the detail is its text."""
    MALFORMED = 2
    """It sent a frame that does not decode, and was killed for it."""
    KILLED = 3
    """It was destroyed by ``space_destroy``."""
    CRASHED = 4
    """The machine saw it die; the detail says how (signal, exit status, rule broken)."""
    DISOBEYED = 5
    """It kept a mapping that was revoked, and was killed for it."""
    NOT_STARTED = 6
    """The machine could not start it; the detail says why."""


class ThreadState(IntEnum):
    """What a thread is doing, as ``debug`` reports it."""

    RUNNING = 0
    SENDING = 1
    RECEIVING = 2
    REPLY = 3
    WAITING = 4
    UNMAPPING = 5
    DEAD = 6


class ThreadOp(IntEnum):
    """Operations of ``thread_control``."""

    SUSPEND = 0
    """Stop the thread; its pending call goes on, but its answer is held back, as is a new call."""
    RESUME = 1
    """Let it go on."""
    PRIORITY = 2
    """Set the priority to the value, 0 (lowest) to 255, but not above the caller's own."""
    BIND = 3
    """Bind the notification whose capability is the value, as long as that capability is there;
    0 unbinds.  The thread must have the caller's label."""
    BUDGET = 4
    """Set how long all threads of the thread's space, which is not the caller's own, may run
    together: value = budget << 32 | period, both in microseconds; 0 for no limit."""


class SpaceFlag(IntFlag):
    """Extra permissions of an address space; only a space that has one can hand it on."""

    EXECUTABLE = 1
    """May make memory of its own executable (a just-in-time compiler)."""


class DebugOp(IntEnum):
    """What ``debug`` reports, each as a list of rows from a start index on."""

    SPACES = 0
    """``[id, name, label, flags, used, limit, capabilities, mappings, threads, pid, cpu_ns, rss,
    budget, period]``; pid, CPU time and resident bytes are from the machine, 0 where it has none;
    budget and period are in microseconds."""
    THREADS = 1
    """``[id, space, name, state, priority, blocked_on]``."""
    ENDPOINTS = 2
    """``[id, owner label, senders queued, receivers queued, receive capabilities]``."""
    CAPABILITIES = 3
    """``[space, slot, kind, object, rights, badge, parent space, parent slot]``."""
    TRACE = 4
    """``[sequence, time_ns, event, thread, a, b]``; start is a sequence number."""


class TraceEvent(IntEnum):
    """Kinds of events in the trace ring."""

    CALL = 0
    """A thread entered the kernel: a = call number, b = its first argument."""
    RETURN = 1
    """A thread left the kernel: a = error."""
    MESSAGE = 2
    """A message was delivered: thread = sender, a = receiver, b = label."""
    SIGNAL = 3
    """A notification was signalled: a = its id, b = the bits."""
    FAULT = 4
    """A space ended: a = the space, b = the fault."""
    INTERRUPT = 5
    """A device raised its interrupt: a = the device."""
    CREATE = 6
    """An object came to be: a = its id."""
    DESTROY = 7
    """An object ended: a = its id."""


_NUMBERS = dict.fromkeys(("cap", "uint", "timeout", "rights", "label"), int)
KINDS: Final[dict[str, type]] = {**_NUMBERS, "bytes": bytes, "text": str, "caps": list}
"""Kind of an argument or result -> the Python type that its msgpack form decodes to."""


Needed = tuple[int, str, int, bool]
"""A capability that a call needs, which is looked up before the call is carried out: its place in
the request, the kind of object or ``ANY``, the rights, and whether ``NULL`` will do."""
ANY: Final = "Any"


class CallSpec(NamedTuple):
    """One system call.  Argument and result kinds are keys of ``KINDS``."""

    number: int
    name: str
    arguments: tuple[tuple[str, str], ...]
    results: tuple[tuple[str, str], ...]
    errors: tuple[Error, ...]
    text: str
    needed: tuple[Needed, ...]


def _fields(text: str) -> list[tuple[str, str]]:
    """Parse ``name:kind ...``; a name without a kind is its own."""
    parts = (word.partition(":") for word in text.split())
    return [(name, kind or name) for name, _, kind in parts]


def _spec(number: int, name: str, arguments: str, results: str, errors: str, text: str) -> CallSpec:
    found, needed = _fields(arguments), []
    for i, (argument, kind) in enumerate(found):
        if kind not in KINDS:
            found[i] = (argument, "cap")
            kind, _, right = kind.removesuffix("?").partition(".")
            optional = arguments.split()[i].endswith("?")
            needed.append((i + 1, kind, int(Right[right]) if right else 0, optional))
    ends = tuple(Error[error] for error in errors.split())
    return CallSpec(number, name, tuple(found), tuple(_fields(results)), ends, text, tuple(needed))


# Name, arguments, results, errors, text.  A capability's kind is the object that it must name, the
# right that it must have, and a question mark if it may be NULL.
_TABLE: Final = (
    (
        "call",
        "endpoint:Endpoint.SEND label data:bytes caps timeout",
        "label data:bytes caps",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT TIMED_OUT SERVER_DIED DENIED RECEIVER_FULL CANCELLED",
        "Send a message and wait for its answer; the timeout is for both, and with 0 nothing is "
        "sent.  The receiver gets a reply capability.  The capabilities are copied: the "
        "receiver's are derived from the sender's.",
    ),
    (
        "send",
        "endpoint:Endpoint.SEND label data:bytes caps timeout",
        "",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT TIMED_OUT SERVER_DIED DENIED RECEIVER_FULL CANCELLED",
        "Send a message and wait until it is received; no answer is expected.",
    ),
    (
        "recv",
        "endpoint:Endpoint.RECEIVE timeout",
        "badge:uint label data:bytes caps reply:cap",
        "BAD_CAPABILITY NO_RIGHT TIMED_OUT CANCELLED",
        "Wait for a message.  The badge is the one minted into the sender's capability; reply is "
        "0 if none is expected.  A thread with a bound notification also hears it here, under "
        "LABEL_NOTIFICATION.",
    ),
    (
        "reply",
        "reply:Reply.SEND label data:bytes caps",
        "",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT DENIED RECEIVER_FULL",
        "Answer a call, once.  The reply capability is used up unless the message itself is "
        "refused.",
    ),
    (
        "reply_recv",
        "reply:cap label data:bytes caps endpoint:Endpoint.RECEIVE timeout",
        "badge:uint label data:bytes caps reply:cap",
        "BAD_CAPABILITY NO_RIGHT TIMED_OUT CANCELLED BAD_ARGUMENT",
        "Answer a call and wait for the next message in one step; reply may be 0. An answer that "
        "cannot be delivered is dropped: its caller gets the error.",
    ),
    (
        "signal",
        "notification:Notification.SEND bits:uint",
        "",
        "BAD_CAPABILITY NO_RIGHT",
        "OR bits into a notification's word.  A badged capability sends its badge instead.",
    ),
    (
        "wait",
        "notification:Notification.RECEIVE timeout",
        "bits:uint",
        "BAD_CAPABILITY NO_RIGHT TIMED_OUT CANCELLED",
        "Wait until the word is not zero; return and clear it.",
    ),
    (
        "poll",
        "notification:Notification.RECEIVE",
        "bits:uint",
        "BAD_CAPABILITY NO_RIGHT",
        "Return and clear the word, which may be zero.",
    ),
    (
        "cap_mint",
        "source:Any rights badge:uint space:Space.CONTROL?",
        "slot:cap",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT NO_QUOTA DENIED",
        "Derive a capability with fewer or equal rights into a space (0: the caller's own). A "
        "badge can be set only where the source has none; 0 keeps the source's.",
    ),
    (
        "cap_move",
        "source:Any space:Space.CONTROL?",
        "slot:cap",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT NO_QUOTA DENIED",
        "Move a capability into another space; its place in the derivation tree is kept.",
    ),
    (
        "cap_drop",
        "source:Any",
        "",
        "BAD_CAPABILITY",
        "Delete a capability and unmap what was mapped through it.  Capabilities derived from it "
        "become its parent's.",
    ),
    (
        "cap_revoke",
        "source:Any",
        "",
        "BAD_CAPABILITY",
        "Delete every capability derived from this one, in all spaces, and wait until all that "
        "was mapped through them is verified to be unmapped.",
    ),
    (
        "space_create",
        "name:text quota:uint label authority:Policy.CONTROL? flags:uint fault:Endpoint.SEND?",
        "slot:cap",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT NO_QUOTA DENIED",
        "Create an address space with quota bytes taken from the caller's quota.  Another label "
        "than the caller's needs the policy authority (else 0).  Fault messages go to the "
        "endpoint, under the badge of that capability; 0 for none.",
    ),
    (
        "space_destroy",
        "space:Space.CONTROL",
        "",
        "BAD_CAPABILITY NO_RIGHT",
        "Destroy an address space with all its threads, capabilities and mappings, and the spaces "
        "that it created; wait until the machine has seen the end of it.",
    ),
    (
        "frame_create",
        "size:uint",
        "slot:cap",
        "BAD_ARGUMENT NO_QUOTA",
        "Create a frame of zeroed memory; size is in bytes, a multiple of PAGE_SIZE.",
    ),
    (
        "map",
        "frame:Frame rights",
        "mapping:uint size:uint",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT NO_QUOTA NO_DEVICE",
        "Map a frame with READ, or READ and WRITE.  The machine hands the memory over beside the "
        "answer.  The mapping ends with the capability.",
    ),
    (
        "unmap",
        "mapping:uint",
        "",
        "BAD_ARGUMENT",
        "End a mapping; the caller must have let go of the memory, and this is verified.",
    ),
    (
        "thread_create",
        "space:Space.CONTROL? entry:text argument:bytes priority:uint",
        "slot:cap",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT NO_QUOTA",
        "Start a thread in a space (0: the caller's own).  In a new space the entry names the "
        "program to load; in a running one it names a function registered with the runtime.  Its "
        "priority is at most the caller's.",
    ),
    (
        "thread_control",
        "thread:Thread.CONTROL? operation:uint value:uint",
        "",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT DENIED IN_USE",
        "Control a thread (0: the caller) as ThreadOp says.",
    ),
    (
        "thread_exit",
        "fault:uint reason:text",
        "",
        "BAD_ARGUMENT",
        "End the calling thread, with fault EXIT or EXCEPTION; does not return then.  With its "
        "first thread, or an EXCEPTION, the space ends.",
    ),
    (
        "endpoint_create",
        "",
        "slot:cap",
        "NO_QUOTA",
        "Create an endpoint; the capability has all rights.",
    ),
    (
        "notification_create",
        "",
        "slot:cap",
        "NO_QUOTA",
        "Create a notification with an empty word.",
    ),
    (
        "device_map",
        "device:Device rights",
        "size:uint",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT NO_DEVICE",
        "Get access to a device with READ, or READ and WRITE.  The machine hands it over beside "
        "the answer; size is in bytes, 0 for a stream.",
    ),
    (
        "link_create",
        "",
        "slot:cap",
        "NO_QUOTA",
        "Create a link between a client and a server; the capability has all rights.",
    ),
    (
        "link_open",
        "link:Link end:rights",
        "",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT IN_USE NO_DEVICE",
        "Get one end of a link, once: SEND for the client's, RECEIVE for the server's.  The "
        "machine hands it over beside the answer.  The link ends with the capability.",
    ),
    (
        "irq_bind",
        "device:Device.CONTROL notification:Notification.SEND bits:uint",
        "",
        "BAD_CAPABILITY NO_RIGHT IN_USE",
        "Signal bits to a notification when the device has something to read, as long as both "
        "capabilities are there; masked until the first irq_ack.",
    ),
    (
        "irq_ack",
        "device:Device.CONTROL",
        "",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT",
        "Acknowledge the device's interrupt: unmask it for one more.",
    ),
    (
        "label_allow",
        "authority:Policy.CONTROL first:label second:label allowed:uint",
        "",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT",
        "Let two labels talk (allowed 1) or not (0).  Taking a pair away revokes what it let "
        "through.",
    ),
    (
        "clock",
        "",
        "now:uint",
        "",
        "The machine's monotonic time, in nanoseconds.",
    ),
    (
        "debug",
        "authority:Debug.CONTROL operation:uint start:uint",
        "rows:bytes next:uint",
        "BAD_CAPABILITY NO_RIGHT BAD_ARGUMENT",
        "Report kernel state as DebugOp says: msgpack rows, and the start of the next page or 0.",
    ),
)

CALLS: Final = tuple(_spec(number, *row) for number, row in enumerate(_TABLE))
"""Every system call, by number."""
