"""Using up what others need: memory, threads, processor time, descriptors, quotas.

Every one is bounded, by a count or by ``WHILE`` seconds, so that it does no harm where it succeeds.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import time
from contextlib import suppress

from kernel.abi import NULL
from servers.runtime import Environment, KernelError
from tests.hostile.attacker import SECOND, Attacker
from tests.hostile.registry import BORN, TURNED, Foiled, attack, harmless, refused

BOTH = (BORN, TURNED)
WHILE = 0.2
"""Seconds for which to do without end."""
MOST_BYTES = 512 << 20
MOST_THREADS = 1000
MOST_SPACES = 12
_STEP = 16 << 20


@attack(refused("ENOMEM"), open_hand=False, programs=BOTH)
def memory_bomb(at: Attacker) -> object:
    """Use memory without end, and touch it."""
    kept: list[bytearray] = []
    while len(kept) * _STEP < MOST_BYTES:
        kept.append(bytearray(_STEP))
    return f"{len(kept) * _STEP >> 20} MiB"


@attack(refused("ENOMEM"), programs=BOTH)
def map_bomb(at: Attacker) -> object:
    """Use memory without end, past the interpreter's accounts."""
    for _ in range(MOST_BYTES // _STEP):
        at.host.mmap(0, _STEP, mmap.PROT_READ | mmap.PROT_WRITE, 0x22, -1, 0)
    return f"{MOST_BYTES >> 20} MiB"


@attack(refused("ENOMEM"))
def address_bomb(at: Attacker) -> object:
    """Reserve all addresses, so that the host has to keep tables for them."""
    for _ in range(64):
        at.host.mmap(0, 1 << 32, mmap.PROT_READ, 0x4022, -1, 0)
    return "256 GiB"


@attack(refused("ENOMEM"))
def stack_bomb(at: Attacker) -> object:
    """Have threads with stacks without end."""
    threading.stack_size(1 << 30)
    try:
        for _ in range(16):
            threading.Thread(target=time.sleep, args=(WHILE,), daemon=True).start()
    except RuntimeError:
        raise MemoryError from None
    finally:
        threading.stack_size(0)
    return "16 GiB"


@attack(refused("ENOMEM"), programs=BOTH)
def thread_bomb(at: Attacker) -> object:
    """Fill the host with threads."""
    threading.stack_size(1 << 16)
    stop, count = threading.Event(), 0
    try:
        while count < MOST_THREADS:
            threading.Thread(target=stop.wait, daemon=True).start()
            count += 1
    except RuntimeError:  # the interpreter's word for it
        raise MemoryError from None
    finally:
        stop.set()
        threading.stack_size(0)
    return f"{count} threads"


@attack(harmless("computed"))
def compute_without_end(at: Attacker) -> object:
    """Keep every processor busy."""
    end = time.monotonic() + WHILE
    buffer = ctypes.create_string_buffer(1 << 20)

    def burn() -> None:
        while time.monotonic() < end:
            ctypes.memset(buffer, 1, 1 << 20)  # without the interpreter's lock

    helpers = [threading.Thread(target=burn) for _ in range(8)]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join()
    raise Foiled("computed, and everybody else could go on")


@attack(harmless("yielded"))
def yield_without_end(at: Attacker) -> object:
    """Keep the host's scheduler busy."""
    end = time.monotonic() + WHILE
    libc = ctypes.CDLL(None)
    while time.monotonic() < end:
        libc.sched_yield()
    raise Foiled("yielded, and everybody else could go on")


@attack(refused("NO_QUOTA"))
def frame_bomb(at: Attacker) -> object:
    """Have frames without end."""
    for _ in range(1000):
        at.system.frame_create(1 << 20)
    return "1000 MiB"


@attack(refused("NO_QUOTA"))
def huge_frame(at: Attacker) -> object:
    """Have one frame as large as the machine."""
    return at.system.frame_create(1 << 46)


@attack(refused("BAD_ARGUMENT", "NO_QUOTA"))
def frame_beyond_numbers(at: Attacker) -> object:
    """Have a frame so large that its size overflows."""
    return at.system.frame_create((1 << 64) - 4096)


@attack(refused("NO_QUOTA"))
def mapped_frame_bomb(at: Attacker) -> object:
    """Have frames of one page without end, each with a descriptor in the kernel's process."""
    for _ in range(5000):
        at.env.frame(4096).map().view[0] = 1
    return "5000 frames"


@attack(refused("NO_QUOTA"))
def mapping_bomb(at: Attacker) -> object:
    """Map one frame without end."""
    frame = at.env.frame(4096)
    for _ in range(50_000):
        frame.map()
    return "50000 mappings"


@attack(refused("NO_QUOTA"))
def mint_bomb(at: Attacker) -> object:
    """Derive capabilities without end."""
    slot = at.env.slot("victim")
    for _ in range(50_000):
        slot = at.system.cap_mint(slot, 4 | 32, 0, NULL)  # a chain, the worst there is to revoke
    return "50000 capabilities"


@attack(refused("NO_QUOTA"))
def object_bomb(at: Attacker) -> object:
    """Have endpoints, notifications and links without end."""
    for _ in range(10_000):
        at.system.endpoint_create()
        at.system.notification_create()
        at.system.link_create()
    return "30000 objects"


@attack(refused("NO_QUOTA"))
def quota_beyond_its_own(at: Attacker) -> object:
    """Give a space of its own more quota than it has."""
    return at.system.space_create("rich", 1 << 30, _label(at), NULL, 0, NULL)


@attack(refused("NO_QUOTA", "BAD_ARGUMENT"))
def space_bomb(at: Attacker) -> object:
    """Have spaces without end, none of which has a process."""
    label = _label(at)
    for _ in range(10_000):
        at.system.space_create("more", 1 << 14, label, NULL, 0, NULL)
    return "10000 spaces"


def _label(at: Attacker) -> int:
    """Its own label, the only one with which it may create spaces."""
    for label in range(16):
        with suppress(KernelError):
            space = at.system.space_create("probe", 0, label, NULL, 0, NULL)
            at.system.cap_drop(space)
            return label
    raise AssertionError("none of the first labels is its own")


@attack(harmless(r"\d+ processes"))
def process_bomb(at: Attacker) -> object:
    """Have processes of its own, with the programs of others; they end with it."""
    label, started = _label(at), 0
    try:
        while started < MOST_SPACES:
            space = at.system.space_create("child", 1 << 19, label, NULL, 0, NULL)
            at.system.thread_create(space, "tests.hostile.victim", b"", 1)
            started += 1
    except KernelError:
        pass
    at.env.sleep(SECOND // 10)
    raise Foiled(f"{started} processes, out of its own quota")


@attack(refused("NO_QUOTA"))
def unheard_thread_bomb(at: Attacker) -> object:
    """Have threads of the kernel's without end, each with descriptors, and start none of them."""
    for number in range(5000):
        at.system.thread_create(NULL, f"thread{number}", b"", 1)
    return "5000 threads"


@attack(harmless("calls"))
def flood_of_calls(at: Attacker) -> object:
    """Call the kernel without end."""
    end, count = time.monotonic() + WHILE, 0
    while time.monotonic() < end:
        at.system.clock()
        count += 1
    raise Foiled("calls without end, and everybody else could go on")


@attack(harmless("calls"))
def flood_of_calls_by_threads(at: Attacker) -> object:
    """Call the kernel without end, from several threads at once."""
    end, done = time.monotonic() + WHILE, [at.env.event() for _ in range(6)]

    def flood(env: Environment, number: int) -> None:
        while time.monotonic() < end:
            env.system.clock()
        done[number].set()

    for number in range(len(done)):
        at.env.thread(lambda env, n=number: flood(env, n), "flood")  # type: ignore[misc]
    for event in done:
        event.wait(5 * SECOND)
    raise Foiled("calls without end, and everybody else could go on")


@attack(harmless("messages"))
def flood_of_messages(at: Attacker) -> object:
    """Send the victim the longest messages without end."""
    end, data = time.monotonic() + WHILE, bytes(60_000)
    while time.monotonic() < end:
        assert len(at.victim.echo(data)) == len(data)
    raise Foiled("messages without end, and everybody else could go on")


@attack(harmless("signals"))
def flood_of_signals(at: Attacker) -> object:
    """Signal the victim without end."""
    bell, end = at.neighbour.bell(), time.monotonic() + WHILE
    while time.monotonic() < end:
        bell.signal()
    at.neighbour.heard()
    raise Foiled("signals without end, and everybody else could go on")


@attack(harmless("capabilities"))
def flood_of_capabilities(at: Attacker) -> object:
    """Send the victim capabilities that it has not asked for, until its table is full."""
    frames = [at.system.frame_create(4096) for _ in range(8)]
    victim, data = at.env.slot("victim"), b"\x91\x01"
    end = time.monotonic() + WHILE
    while time.monotonic() < end:
        at.system.call(victim, 0, data, frames, SECOND)
    raise Foiled("capabilities without end, and the victim dropped them")


@attack(harmless("maps"))
def flood_of_maps(at: Attacker) -> object:
    """Have the kernel stop and search this process all the time, with much to search."""
    start = at.host.mmap(0, 20_000 * 4096, 0, 0x4022, -1, 0)
    for page in range(0, 20_000, 2):
        at.host.mprotect(start + page * 4096, 4096, mmap.PROT_READ)
    frame, end = at.env.frame(4096), time.monotonic() + WHILE
    while time.monotonic() < end:
        frame.map().close()
    raise Foiled("maps without end, and everybody else could go on")


@attack(refused("NO_QUOTA", "RECEIVER_FULL"))
def capability_to_itself(at: Attacker) -> object:
    """Send itself a capability without end, so that they add up in its own table."""
    endpoint = at.system.endpoint_create()

    def receive(env: Environment) -> None:
        while True:
            *_, reply = env.system.recv(endpoint, -1)
            if reply:
                env.system.reply(reply, 0, b"", [])

    at.env.thread(receive, "self")
    for _ in range(50_000):
        at.system.call(endpoint, 0, b"", [endpoint] * 8, SECOND)
    return "400000 capabilities"
