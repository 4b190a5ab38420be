"""A guest that was saved goes on elsewhere as if nothing had been; what is damaged is refused."""

from __future__ import annotations

import random
import threading
import time

import pytest

from tests.vmm.backends import MemoryBlock
from tests.vmm.rig import Machine
from tools.images import guest
from vmm.config import MIB
from vmm.outcome import End
from vmm.snapshot import format, machine, state
from vmm.snapshot.state import SnapshotError
from vmm.snapshot.stream import Loading, Saving

DEMO = guest("demo").read_bytes()


class Running:
    """A demo guest on a thread of its own."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self.outcome: End | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.outcome = self.host.board.run().end
        self.host.board.close()

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 20
        while text not in self.host.serial.text:
            assert time.monotonic() < end, self.host.serial.text
            time.sleep(0.005)

    def type(self, text: str) -> None:
        self.host.board.receive(text.encode())

    def saved(self) -> bytes:
        """Its state as a stream; it stays stopped."""
        board, found, done = self.host.board, [], threading.Event()

        def take() -> None:
            board.hold()
            if not machine.is_quiet(board):
                board.post(take)
                return
            saving = Saving(machine.describe(board), board.memory.buffer)
            saving.finish(machine.save(board))
            while piece := saving.piece():
                found.append(piece)
            done.set()

        board.post(take)
        assert done.wait(20)
        return b"".join(found)

    def go_on(self) -> None:
        self.host.board.post(self.host.board.go_on)

    def end(self) -> None:
        self.host.board.stop()
        self._thread.join(20)


def a_guest(*blocks: MemoryBlock, memory: int = 16 * MIB) -> Machine:
    host = Machine(*blocks, memory=memory)
    host.board.load_kernel(DEMO)
    return host


def loaded(host: Machine, stream: bytes, size: int = 60_000) -> None:
    loading = Loading(host.board)
    for at in range(0, len(stream), size):
        loading.piece(stream[at : at + size])
    machine.restore(host.board, loading.state())


@pytest.fixture(name="first")
def _first() -> Running:
    running = Running(a_guest())
    running.wait_for("> ")
    return running


def test_a_guest_goes_on_in_another_board(first: Running) -> None:
    first.type("echo here")  # half a line is in its memory
    first.wait_for("echo here")
    stream = first.saved()
    first.end()
    host = a_guest()
    loaded(host, stream)
    second = Running(host)
    second.type(" and there\r")
    second.wait_for("here and there")
    assert "Cloister demo guest" not in host.serial.text  # it did not boot again
    second.type("off\r")
    second.wait_for("")
    second._thread.join(20)
    assert second.outcome is End.POWER_OFF


def test_a_guest_that_was_saved_goes_on_itself(first: Running) -> None:
    for word in ("one", "two"):
        first.saved()
        first.go_on()
        first.type(f"echo {word}\r")
        first.wait_for(f"\n{word}")
    first.end()


def test_it_can_be_saved_a_hundred_times_on_the_way() -> None:
    """Each time in another board, wherever it was."""
    host = a_guest()
    running = Running(host)
    for _ in range(20):
        time.sleep(0.003)
        stream = running.saved()
        running.end()
        host = a_guest()
        loaded(host, stream)
        running = Running(host)
    running.type("echo alive\r")
    running.wait_for("alive")
    running.end()


def test_a_guest_that_runs_while_it_is_sent() -> None:
    host = a_guest()
    running = Running(host)
    board = host.board
    saving = Saving(machine.describe(board), board.memory.buffer)
    stream, sizes = b"", []
    for _ in range(3):
        size = len(stream)
        while piece := saving.piece():
            stream += piece
        sizes.append(len(stream) - size)
        time.sleep(0.01)
    running.wait_for("> ")
    stopped = threading.Event()

    def stop() -> None:
        board.hold()
        saving.finish(machine.save(board))
        stopped.set()

    board.post(stop)
    assert stopped.wait(20)
    while piece := saving.piece():
        stream += piece
    running.end()
    other = a_guest()
    loaded(other, stream)
    assert bytes(other.board.memory.buffer) == bytes(board.memory.buffer)
    second = Running(other)
    second.type("echo moved\r")
    second.wait_for("\nmoved")
    second.end()
    assert max(sizes[1:]) < sizes[0]


def test_time_goes_on_where_it_stood(first: Running) -> None:
    before = first.host.board.clock()
    stream = first.saved()
    first.end()
    host = a_guest()
    host.board.clock.set(before + 10**15)
    loaded(host, stream)
    assert before <= host.board.clock() < before + 10**10
    host.board.close()


def test_its_disk_is_used_on() -> None:
    disk = MemoryBlock(1 << 20)
    running = Running(a_guest(disk))
    running.wait_for("> ")
    stream = running.saved()
    running.end()
    host = a_guest(disk)
    loaded(host, stream)
    running = Running(host)
    running.type("boots\r")
    running.type("echo on\r")
    running.wait_for("on")
    running.end()


# What is refused


def refused(stream: bytes, memory: int = 16 * MIB) -> str:
    host = a_guest(memory=memory)
    try:
        with pytest.raises(SnapshotError) as found:
            loaded(host, stream)
        return str(found.value)
    finally:
        host.board.close()


def test_a_damaged_stream_is_refused(first: Running) -> None:
    stream = first.saved()
    first.end()
    assert "no snapshot" in refused(b"x" * 100)
    assert "version 9" in refused(stream[:8] + b"\x09" + stream[9:])
    assert "end is missing" in refused(stream[:-1])
    assert "end is missing" in refused(stream[: len(stream) // 2])
    assert "end is missing" in refused(b"")
    assert "follows" in refused(stream + format.record(format.ZERO, bytes(16)))
    assert "memory was" in refused(stream, 8 * MIB)
    some = random.Random(7)
    for _ in range(20):
        at = some.randrange(12, len(stream))
        damaged = stream[:at] + bytes((stream[at] ^ 1 << some.randrange(8),)) + stream[at + 1 :]
        assert refused(damaged)


def test_a_stream_with_a_right_sum_and_wrong_content_is_refused(first: Running) -> None:
    stream = first.saved()
    first.end()
    records = {one.kind: one.content for one in format.Reader().feed(stream)}
    known = (format.MACHINE, records[format.MACHINE])

    def made(*records: tuple[int, bytes]) -> bytes:
        digest = format.Digest()
        parts = [digest.add(format.head())]
        parts += [digest.add(format.record(kind, content)) for kind, content in records]
        return b"".join((*parts, digest.end()))

    assert "no state" in refused(made())
    assert "no state" in refused(made(known))
    assert "say first" in refused(made((format.ZERO, bytes(16)), known))
    far = (16 * MIB).to_bytes(8, "little")
    assert "more memory" in refused(made(known, (format.ZERO, far + b"\1" + bytes(7))))
    assert "damaged" in refused(made(known, (format.MEMORY, bytes(20))))
    assert "damaged" in refused(made((format.MACHINE, b"\xff" * 20)))
    assert "damaged" in refused(made(known, (format.STATE, b"\xff" * 20)))
    import msgpack

    for change in (
        lambda tree: tree["devices"]["parts"].pop("pic"),
        lambda tree: tree["registers"].pop("rip"),
        lambda tree: tree.pop("rest"),
        lambda tree: tree.update(devices=[]),
        lambda tree: tree["devices"]["timers"].append([0, "pic", "__init__"]),
        lambda tree: tree["devices"]["timers"].append([0, "pic", "nothing"]),
        lambda tree: tree["devices"]["parts"]["pit"].update(_speaker=b"x"),
        lambda tree: tree["devices"]["parts"]["pit"].update(nothing=1),
    ):
        tree = msgpack.unpackb(records[format.STATE], strict_map_key=False)
        change(tree)
        assert refused(made(known, (format.STATE, msgpack.packb(tree))))


def test_bombs_do_not_expand() -> None:
    import zlib

    bomb = format.Record(format.MEMORY, bytes(8) + zlib.compress(bytes(64 << 20)))
    with pytest.raises(SnapshotError):
        format.write_into(memoryview(bytearray(1 << 20)), bomb)


def test_all_state_of_the_devices_is_taken() -> None:
    """What is wiring is not state: no device may hold numbers where they are not looked for."""
    host = a_guest()
    walk = state.Walk(host.board.devices())
    tree = state.capture(host.board.devices(), host.board.timers)
    assert {"pic", "pit", "rtc", "uart", "pci", "pm", "i8042"} <= tree["parts"].keys()
    for path, part in walk.parts.items():
        for name, value in state._attributes(part):
            if isinstance(value, int | bytes | bytearray):
                assert name in tree["parts"][path], f"{path}.{name}"
    host.board.close()
