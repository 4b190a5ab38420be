"""The host machine carries out the kernel's effects, and survives what processes do."""

from __future__ import annotations

import os
import pty
import signal
import time
from pathlib import Path

import pytest

from tools.errors import UserError

# Processes and messages


def test_root_task_makes_system_calls(shared):
    slots = shared.tell("result = slots")
    assert set(slots) == {"policy", "debug", "operator"}
    before = time.monotonic_ns()
    assert before < shared.tell("result = k.clock()") < time.monotonic_ns()


def test_second_process_answers_a_call(rig):
    rig.tell("spawn('a')")
    assert rig.tell_child("a", "result = name") == "a"
    assert rig.pid("a") != rig.pid()


def test_capabilities_and_frames_are_shared(rig):
    rig.tell("spawn('a'); frame = k.frame_create(8192); m = map_frame(frame)\nresult = None")
    rig.tell(
        "frame = k.frame_create(8192); m = map_frame(frame); mappings[m][:5] = b'hello'\n"
        "tell('a', 'm = map_frame(given[0]); mappings[m][5:10] = b\"world\"', [frame])\n"
        "result = mappings[m][:10]"
    )
    assert rig.tell("result = [bytes(x[:10]) for x in mappings.values()]")[-1] == b"helloworld"


def test_read_only_frame_cannot_be_written(rig):
    rig.tell("spawn('a')")
    source = """
k.map(given[0], 1)
(fd,) = k.fds
result = []
def attempt(what):
    try:
        what()
        result.append('done')
    except (OSError, PermissionError) as error:
        result.append('refused')
attempt(lambda: mmap.mmap(fd, 4096, mmap.MAP_SHARED, 3))
attempt(lambda: os.open(f'/proc/self/fd/{fd}', os.O_RDWR))
attempt(lambda: os.write(fd, b'x'))
attempt(lambda: os.ftruncate(fd, 0))
attempt(lambda: os.fchmod(fd, 0o777))
view = mmap.mmap(fd, 4096, mmap.MAP_SHARED, 1)
address = ctypes.addressof(ctypes.py_object(view))
result.append(view[0])
"""
    result = rig.tell(
        "frame = k.frame_create(4096); m = map_frame(frame); mappings[m][0] = 7\n"
        "readable = k.cap_mint(frame, 1 | 32, 0, 0)\n"
        f"result = tell('a', {source!r}, [readable])"
    )
    assert result == [True, ["refused"] * 5 + [7]]


def test_frame_cannot_grow(shared):
    assert shared.tell(
        "frame = k.frame_create(4096); m, _ = k.map(frame, 3); (fd,) = k.fds\n"
        "result = libc.ftruncate(fd, 1 << 20), libc.fallocate(fd, 0, 0, 1 << 20)\n"
        "os.close(fd); k.unmap(m); k.cap_drop(frame)"
    ) == [-1, -1]


def test_revoked_mapping_is_let_go(rig):
    rig.tell("spawn('a')")
    rig.tell_child("a", "listen()")
    rig.tell(
        "frame = k.frame_create(4096)\n"
        "tell('a', 'for _ in range(3): map_frame(given[0])', [frame])\n"
        "k.cap_revoke(frame)"
    )
    assert rig.tell_child("a", "result = len(mappings)") == 0
    assert rig.spaces()["a"]["mappings"] == 0


def test_unmap_is_verified_and_other_mappings_stay(rig):
    rig.tell(
        "frame = k.frame_create(4096); a = map_frame(frame); b = map_frame(frame, 1)\n"
        "mappings[a][0] = 9; mappings.pop(a).close(); k.unmap(a)\n"
        "result = mappings[b][0]"
    )
    assert rig.tell("result = [m[0] for m in mappings.values()]") == [9]


DISOBEDIENT = {
    "says it let go": "listen(obedient=False); map_frame(given[0])",
    "says nothing": "map_frame(given[0])",
    "keeps the descriptor": """
m, _ = k.map(given[0], 3)
keep = list(k.fds)
listen()
""",
    "leaves the descriptor unread": """
k.send('map', given[0], 3)
time.sleep(30)
""",
}


@pytest.mark.parametrize("how", DISOBEDIENT)
def test_process_that_keeps_a_mapping_is_killed(rig, gone, how):
    source = f"globals().update(given=given)\n{DISOBEDIENT[how]}"
    rig.tell("e = k.endpoint_create(); spawn('a', fault=e); slots['e'] = e; spawn('b')")
    pid = rig.pid("a")
    start = time.monotonic()
    rig.tell(
        "frame = k.frame_create(4096)\n"
        f"k.send('call', children['a'][1], 0, {source!r}.encode(), [frame], 200_000_000)\n"
        "try: k.receive()\nexcept OSError: pass\n"
        "time.sleep(0.1); k.cap_revoke(frame)"
    )
    assert 1.5 < time.monotonic() - start < 4
    assert gone(pid)
    heard = rig.tell("import msgpack; result = msgpack.unpackb(k.recv(slots['e'], 10**9)[2])")
    assert heard[0] == 5 and "revoked" in heard[2]
    assert rig.tell_child("b", "result = 1") == 1


def test_threads_share_a_process_and_survive_a_revocation(rig):
    rig.tell(
        "def adder(calls, argument):\n"
        "    endpoint = int(argument)\n"
        "    badge, label, data, caps, reply = calls.recv(endpoint, -1)\n"
        "    while True:\n"
        "        data = str(int(data) + 1).encode()\n"
        "        _, _, data, _, reply = calls.reply_recv(reply, 0, data, [], endpoint, -1)\n"
        "import __main__; __main__.adder = adder; listen()\n"
        "e = slots['adder'] = k.endpoint_create()\n"
        "k.thread_create(0, 'adder', str(e).encode(), 100)\n"
    )
    add = "result = k.call(slots['adder'], 0, b'41', [], 10**9)[1]"
    assert rig.tell(add) == b"42"
    rig.tell("f = k.frame_create(4096); m = map_frame(f); mappings.pop(m).close(); k.unmap(m)")
    assert rig.tell(add) == b"42"


# Misbehaviour


def fault_of(rig, how, name="evil"):
    """Spawn a process, have it execute ``how``; the fault message its supervisor gets."""
    rig.tell(f"slots['e'] = k.endpoint_create(); spawn({name!r}, fault=slots['e'])")
    rig.tell(
        f"k.send('call', children[{name!r}][1], 0, {how!r}.encode(), [], 3_000_000_000)\n"
        "try: k.receive()\nexcept OSError: pass"
    )
    return rig.tell("result = msgpack.unpackb(k.recv(slots['e'], 5*10**9)[2])")


TWICE = """
k.send('recv', slots['operator'], -1)
time.sleep(0.1)
k.send('clock')
time.sleep(9)
"""
UNREAD = """
import fcntl, termios
def waiting():
    return fcntl.ioctl(5, termios.FIONREAD, bytes(4))
while True:
    before = waiting()
    k.send('debug', 0, 9, 9)
    while waiting() == before:
        os.sched_yield()
"""


@pytest.mark.parametrize(
    ("how", "fault", "detail"),
    [
        ("k.channel.send(b'nonsense'); time.sleep(9)", 2, "msgpack"),
        ("k.channel.send(b'x' * 80000); time.sleep(9)", 2, "bytes"),
        ("[k.send('clock') for _ in range(5000)]; time.sleep(9)", 2, "extra data"),
        (UNREAD, 4, "answers"),
        (TWICE, 2, "second"),
        ("notices.send(b'some nonsense'); time.sleep(9)", 4, "notice"),
        ("os.close(3); time.sleep(9)", 4, "closed its channel"),
        ("os._exit(3)", 4, "exited with status 3"),
        ("ctypes.string_at(0)", 4, "SIGSEGV"),
        ("libc.ptrace(0, 0, 0, 0)", 4, "made the host's system call ptrace (reach into"),
        ("k.thread_exit(1, 'oops')", 1, "oops"),
    ],
)
def test_only_the_offender_ends_and_its_supervisor_hears(shared, how, fault, detail):
    heard = fault_of(shared, how)
    assert heard[0] == fault and detail in heard[2], heard
    shared.tell("spawn('well')")
    assert shared.tell_child("well", "result = 1") == 1
    shared.tell("k.space_destroy(children['well'][0]); k.space_destroy(children['evil'][0])")


def test_killed_process_is_reported(rig):
    rig.tell("slots['e'] = k.endpoint_create(); spawn('a', fault=slots['e'])")
    os.kill(rig.pid("a"), signal.SIGKILL)
    heard = rig.tell("result = msgpack.unpackb(k.recv(slots['e'], 10**9)[2])")
    assert heard[0] in (4, 6) and "SIGKILL" in heard[2]


def test_destroyed_space_is_gone_when_the_call_returns(rig):
    rig.tell("spawn('a')")
    pid = rig.pid("a")
    rig.tell("k.space_destroy(children['a'][0])")
    assert not Path(f"/proc/{pid}").exists()
    assert "a" not in rig.spaces()


# The end


def processes(rig):
    rig.tell("spawn('a'); spawn('b', entry='silent')")
    return [rig.pid(name) for name in ("puppet", "a", "b")]


def test_machine_ends_when_the_tool_hangs_up(rig):
    pids = processes(rig)
    assert rig.close() == (0, "")
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_machine_ends_when_the_root_task_fails(rig, gone):
    pids = processes(rig)
    rig.call("send", rig.slots["operator"], 0, b"k.thread_exit(1, 'no disk')", [], -1)
    status, errors = rig.wait()
    assert status == 1 and "puppet ended (exception): no disk" in errors
    assert all(gone(pid, 0.1) for pid in pids)


def test_machine_ends_quietly_when_the_root_task_is_done(rig):
    rig.call("send", rig.slots["operator"], 0, b"k.thread_exit(0, '')", [], -1)
    assert rig.wait() == (0, "")


def test_no_process_outlives_the_kernel(rig, gone):
    pids = processes(rig)
    rig.kernel.kill()
    assert all(gone(pid) for pid in pids)


def test_no_process_outlives_the_tool(gone, tmp_path):
    import subprocess
    import sys

    here = Path(__file__).parent
    tool = (
        f"import sys; sys.path[:0] = [{str(here)!r}, {str(here.parents[3])!r}]\n"
        "import conftest, time\n"
        "rig = conftest.Rig(); rig.tell(\"spawn('a')\")\n"
        "print(rig.kernel.pid, rig.pid(), rig.pid('a'), flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", tool], stdout=subprocess.PIPE) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    assert len(pids) == 3 and all(gone(pid) for pid in pids)


# Devices


def devices(*entries):
    from kernel.machine.config import DeviceConfig

    return {"devices": [DeviceConfig(**entry) for entry in entries]}


def test_file_device(boot, tmp_path):
    disk = tmp_path / "disk.img"
    config = devices({"name": "disk", "path": str(disk), "writable": True, "size": 8192})
    rig = boot(config)
    assert rig.tell("result = k.device_map(slots['disk'], 3); slots['fd'] = k.fds[0]") == 8192
    assert rig.tell("result = os.pwrite(slots['fd'], b'data', 4096)") == 4
    assert disk.read_bytes()[4096:4100] == b"data"
    # for reading alone
    rig.tell("k.device_map(slots['disk'], 1); slots['fd'] = k.fds[0]")
    assert rig.tell("result = os.pread(slots['fd'], 4, 4096)") == b"data"
    assert "OSError" in failure(rig, "os.pwrite(slots['fd'], b'data', 0)")
    # one machine at a time
    with pytest.raises(UserError, match="in use by another running system"):
        boot(config)


def failure(rig, source):
    with pytest.raises(AssertionError) as caught:
        rig.tell(source)
    return str(caught.value)


def test_missing_device_is_reported_when_it_is_used(boot, tmp_path):
    rig = boot(devices({"name": "disk", "path": str(tmp_path / "none")}))
    assert "Errno 11" in failure(rig, "k.device_map(slots['disk'], 1)")


def test_terminal_device_and_its_interrupt(boot):
    controller, terminal = pty.openpty()
    rig = boot(devices({"name": "tty", "fd": 0, "writable": True, "stream": True}), fds=[terminal])
    rig.tell(
        "assert k.device_map(slots['tty'], 3) == 0; slots['fd'] = k.fds[0]\n"
        "n = slots['n'] = k.notification_create(); k.irq_bind(slots['tty'], n, 4)\n"
        "k.irq_ack(slots['tty'])\n"
        "os.write(slots['fd'], b'prompt')"
    )
    assert os.read(controller, 100) == b"prompt"
    assert rig.tell("result = k.poll(slots['n'])") == 0
    for _ in range(2):
        os.write(controller, b"line\n")
        assert rig.tell("result = k.wait(slots['n'], 10**9), os.read(slots['fd'], 9)") == [
            4,
            b"line\n",
        ]
        rig.tell("k.irq_ack(slots['tty'])")
    assert os.get_blocking(terminal)
    os.close(controller)
    os.close(terminal)


def test_reading_does_not_give_writing(boot):
    controller, terminal = pty.openpty()
    rig = boot(devices({"name": "tty", "fd": 0, "stream": True}), fds=[terminal])
    rig.tell("k.device_map(slots['tty'], 1); slots['fd'] = k.fds[0]")
    assert "OSError" in failure(rig, "os.write(slots['fd'], b'x')")
    os.close(controller)
    os.close(terminal)


def test_file_interrupts_at_once(boot, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    rig = boot(devices({"name": "file", "path": str(tmp_path / "file")}))
    assert (
        rig.tell(
            "n = k.notification_create(); k.irq_bind(slots['file'], n, 1)\n"
            "k.irq_ack(slots['file']); result = k.wait(n, 10**9)"
        )
        == 1
    )


# Scheduling and accounts


def test_suspended_process_stands_still(rig):
    rig.tell(
        "space, ep = spawn('a'); tell('a', '')\n"
        "space = k.space_create('b', 1 << 20, 0, 0, 0, 0)\n"
        "slots['t'] = k.thread_create(space, 'silent', b'', 200)"
    )
    pid = rig.pid("b")
    rig.tell("k.thread_control(slots['t'], 0, 0)")
    time.sleep(0.05)
    assert Path(f"/proc/{pid}/stat").read_text().split()[2] == "T"
    rig.tell("k.thread_control(slots['t'], 1, 0); k.thread_control(slots['t'], 2, 0)")
    time.sleep(0.05)
    assert Path(f"/proc/{pid}/stat").read_text().split()[2] != "T"
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19


BURN = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass"


def test_budget_holds_all_threads_of_a_process_back(rig):
    rig.tell(
        "space = k.space_create('b', 64 << 20, 0, 0, 0, 0); e = k.endpoint_create()\n"
        "theirs = k.cap_mint(e, 44, 0, space)\n"
        "argument = msgpack.packb([b'', {'operator': theirs}, 'b'])\n"
        "slots['t'] = k.thread_create(space, 'puppet', argument, 100)\n"
        "children['b'] = (space, e); tell('b', '')\n"
        "k.thread_control(slots['t'], 4, 20_000 << 32 | 100_000)"
    )
    before = rig.spaces()["b"]
    assert (before["budget"], before["period"]) == (20_000, 100_000)
    start = time.monotonic()
    threads = f"[threading.Thread(target=exec, args=({BURN!r},)) for _ in range(3)]"
    rig.tell_child(
        "b", f"threads = {threads}\n[t.start() for t in threads]\n[t.join() for t in threads]"
    )
    share = (rig.spaces()["b"]["cpu"] - before["cpu"]) / 1e9 / (time.monotonic() - start)
    assert 0.1 < share < 0.35
    rig.tell("k.thread_control(slots['t'], 4, 0)")
    before, start = rig.spaces()["b"]["cpu"], time.monotonic()
    rig.tell_child("b", f"exec({BURN!r})")
    assert (rig.spaces()["b"]["cpu"] - before) / 1e9 / (time.monotonic() - start) > 0.4


def test_inspect_says_what_processes_use(rig):
    rig.tell("x = 0\nfor i in range(300000): x += i")
    seen = rig.spaces()["puppet"]
    assert seen["cpu"] > 1_000_000 and seen["rss"] > 1 << 20


def test_timeouts(rig):
    start = time.monotonic()
    assert "Errno 5" in failure(rig, "k.recv(k.endpoint_create(), 50_000_000)")
    assert 0.05 < time.monotonic() - start < 1


def test_long_arguments_and_payloads(rig):
    assert rig.tell(f"result = {'x' * 60000!r}") == "x" * 60000
