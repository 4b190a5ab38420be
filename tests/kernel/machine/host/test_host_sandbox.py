"""Every layer around a process, looked at from the outside and tried from the inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.isolation import layers

NAMESPACES = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_namespaces_are_its_own(shared, namespace):
    theirs = os.readlink(f"/proc/{shared.pid()}/ns/{namespace}")
    assert theirs != os.readlink(f"/proc/{shared.kernel.pid}/ns/{namespace}")


def test_status(shared):
    shared.tell("result = 'started'")  # it executes the interpreter once the kernel says so
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{shared.pid()}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    for capabilities in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert int(status[capabilities], 16) == 0


def test_descriptors_are_the_channels(shared):
    shared.tell("result = 'started'")  # else it may be reading its program
    folder = f"/proc/{shared.pid()}/fd"
    links = {int(fd): os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
    assert set(links) == {0, 1, 2, 3, 4, 5}
    assert links[0] == links[1] == links[2] == "/dev/null"
    assert links[3].startswith("pipe:") and links[5].startswith("pipe:")
    assert links[4].startswith("socket:")


def test_environment_and_identity(shared):
    assert shared.tell("result = os.getuid(), os.getgid(), os.getpid()") == [1000, 1000, 1]
    assert "HOME" not in shared.tell("result = dict(os.environ)")


def test_import_path_can_be_read(shared):
    assert shared.tell("import json, decimal; result = open(json.__file__).read(1)")


ATTEMPTS = {
    "read a file": "open('/etc/passwd').read()",
    "read the kernel's memory": "open('/proc/self/maps').read()",
    "list a folder": "os.listdir('/tmp')",
    "write a file": "open('/tmp/evil', 'w')",
    "write in the import path": "open(__file__, 'a')",
    "make a folder": "os.mkdir('/tmp/evil')",
    "remove a file": "os.unlink(__file__)",
    "open a socket": "socket.socket()",
    "open a socket pair": "socket.socketpair()",
    "fork": "os.fork()",
    "start a program": "os.posix_spawn('/bin/true', ['true'], {})",
    "execute a program": "os.execv('/bin/true', ['true'])",
    "signal the kernel": "os.kill(2, 9)",
    "make anonymous shared memory": "mmap.mmap(-1, 4096)",
    "make a memory file": "os.memfd_create('evil')",
    "make a pipe": "os.pipe()",
    "share no descriptors": "assert libc.close_range(90, 99, 2) == 0",
    "clone with descriptors of its own": "assert libc.syscall(56, 0x10D00, 0, 0, 0, 0) >= 0",
    "outlive the kernel": "assert libc.prctl(1, 0, 0, 0, 0) == 0",
    "raise a limit": "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "use up memory": "bytearray(1 << 30)",
    "write and execute": "mmap.mmap(-1, 4096, 0x22, prot=7)",
}


@pytest.mark.parametrize("what", ATTEMPTS)
def test_cannot(shared, what):
    shared.tell("if 'evil' not in children: spawn('evil')")
    with pytest.raises(AssertionError) as caught:
        shared.tell_child("evil", ATTEMPTS[what])
    assert any(
        error in str(caught.value)
        for error in ("PermissionError", "MemoryError", "AssertionError", "ValueError")
    ), caught.value


def test_memory_can_be_made_executable_only_with_the_flag(rig):
    source = "a = mmap.mmap(-1, 4096, 0x22, prot=7); b = mmap.mmap(-1, 1 << 30, 0x4022, prot=7)"
    rig.tell("spawn('jit', flags=1)")
    rig.tell_child("jit", source)


def test_threads_are_limited(rig):
    count = rig.tell(
        "import threading\nthreading.stack_size(65536)\nn = 0\nstop = threading.Event()\n"
        "try:\n    while n < 2000:\n"
        "        threading.Thread(target=stop.wait, daemon=True).start(); n += 1\n"
        "except RuntimeError: pass\nstop.set()\nresult = n"
    )
    assert 8 < count < 500
    assert subprocess.run(["true"], check=False).returncode == 0


def test_second_filter_comes_with_the_start(shared):
    size = shared.tell("import __main__; result = len(__main__.second), __main__.flags")
    assert size[0] > 100 and size[0] % 8 == 0


def test_second_filter_allows_no_files(rig):
    rig.tell("spawn('a')")
    source = """
import __main__
class Filter(ctypes.Structure):
    _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_char_p)]
program = Filter(len(__main__.second) // 8, __main__.second)
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
result = []
for attempt in (lambda: open(__main__.__file__), lambda: os.stat('/'), lambda: os.getcwd()):
    try:
        attempt()
    except PermissionError:
        result.append(1)
import threading
thread = threading.Thread(target=lambda: result.append(k.clock()))
thread.start(); thread.join()
result.append(len(bytearray(1 << 24)))
"""
    assert rig.tell_child("a", source)[:3] == [1, 1, 1]


def test_missing_layer_is_named_and_can_be_done_without(boot, tmp_path):
    if os.getuid():
        pytest.skip("needs a host where a namespace can be taken away")
    script = 'echo 0 >/proc/sys/user/max_net_namespaces; exec "$@"'
    without = ["unshare", "-Ur", "sh", "-c", script, "sh"]
    with pytest.raises(ConnectionError):
        boot(prefix=without).tell("result = 1")
    weak = boot({"without": ["network namespace"]}, prefix=without)
    assert weak.tell("result = os.getuid()") == 1000


def test_runtime_that_is_not_there_is_named(boot, import_path):
    with pytest.raises(Exception, match=r"start\.py is in none of the import paths"):
        boot({"paths": import_path[2:]})


def test_layers_can_be_listed():
    names = [layer.name for layer in layers.layers()]
    assert {"user namespace", "Landlock", "seccomp", "thread limit"} <= set(names)
    assert names == list(layers.LAYERS)


def test_lacking_layers_are_found_out():
    if os.getuid():
        pytest.skip("needs a host where a namespace can be taken away")
    script = 'echo 0 >/proc/sys/user/max_net_namespaces; exec "$@"'
    command = ["unshare", "-Ur", "sh", "-c", script, "sh", sys.executable, "-m"]
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [*command, layers.__name__], capture_output=True, text=True, check=True, cwd=root
    )
    assert "network namespace" in json.loads(done.stdout)


def test_the_host_s_own_limit_is_left_alone(boot):
    limit = Path("/proc/sys/kernel/pid_max").read_text()
    rig = boot({"without": ["pid namespace"], "namespaces": 0})
    assert rig.tell("result = os.getuid()") >= 0
    assert Path("/proc/sys/kernel/pid_max").read_text() == limit
