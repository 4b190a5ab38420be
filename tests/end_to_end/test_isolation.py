"""Every process of a running system is isolated, and none outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from servers.audit.interface import AuditReader
from tests.end_to_end.rig import alive, booted, command, pids

INIT_END = ("init", "end")
EXPECTED = {"init", "terminal", "console", "entropy", "audit", "guest"}


def test_every_process_has_namespaces_and_a_filter_of_its_own() -> None:
    with booted("--kernel", "guest:demo", "--memory", "16M") as running:
        deadline = time.monotonic() + 20
        while not set(pids(running)) >= EXPECTED and time.monotonic() < deadline:
            time.sleep(0.05)
        found = pids(running)
        assert set(found) >= EXPECTED
        seen = set()
        for name, pid in found.items():
            if name == "operator":
                continue
            for space in ("net", "mnt", "pid", "user", "ipc"):
                theirs = os.readlink(f"/proc/{pid}/ns/{space}")
                assert theirs != os.readlink(f"/proc/self/ns/{space}"), (name, space)
                assert theirs not in seen, (name, space)
                seen.add(theirs)
            status = _status(pid)
            assert "Seccomp:\t2" in status, name
            assert "NoNewPrivs:\t1" in status
    assert not [name for name, pid in found.items() if name != "operator" and alive(pid)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_tool_ends(how: signal.Signals) -> None:
    tool = subprocess.Popen(
        command("boot", "--kernel", "guest:demo", "--memory", "16M"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert tool.stdout is not None
    heard = b""
    while b"demo>" not in heard:  # which may come in two pieces
        heard += tool.stdout.read1(64)
    family = _descendants(tool.pid)
    assert len(family) >= len(EXPECTED)
    tool.send_signal(how)
    assert tool.wait(timeout=20) != 0
    deadline = time.monotonic() + 10
    while any(map(alive, family)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in family if alive(pid)]


def test_what_dies_is_restarted_and_logged() -> None:
    with booted("--kernel", "guest:demo", "--memory", "16M") as running:
        log = running.open(AuditReader, "audit.reader")
        while "entropy" not in pids(running):
            time.sleep(0.05)
        first = pids(running)["entropy"]
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while pids(running).get("entropy", first) == first and time.monotonic() < deadline:
            time.sleep(0.05)
        assert pids(running)["entropy"] != first
        ended: list[str] = []
        while not ended and time.monotonic() < deadline:
            found = [(r.source, r.event, r.detail) for r in log.read(1, 1000)]
            ended = [detail for source, event, detail in found if (source, event) == INIT_END]
    assert len(ended) == 1 and "entropy" in ended[0] and "SIGKILL" in ended[0]


def _status(pid: int) -> str:
    """What the host says of a process, once it has left the kernel's image for its own."""
    deadline = time.monotonic() + 10
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        if "Seccomp:\t2" in status or time.monotonic() > deadline:
            return status
        time.sleep(0.02)


def _descendants(pid: int) -> list[int]:
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            children = [int(child) for child in task.read_text().split()]
            found += children
            todo += children
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="needs a host where a namespace can be taken away")
def test_a_host_that_lacks_a_layer_is_refused_unless_that_is_put_up_with(tmp_path: Path) -> None:
    script = 'echo 0 >/proc/sys/user/max_net_namespaces; exec "$@"'
    without = ["unshare", "-Ur", "sh", "-c", script, "sh"]

    def shell(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*without, *command("shell", *options, "-c", "vm list")],
            env={**os.environ, "CLOISTER_STATE": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    refused = shell()
    assert refused.returncode == 1 and not refused.stdout
    assert refused.stderr.startswith("cloister: this host lacks network namespace (")
    assert refused.stderr.count("\n") == 1 and "--allow-weak-isolation" in refused.stderr
    weak = shell("--allow-weak-isolation")
    assert weak.returncode == 0 and "hello" in weak.stdout, weak.stderr
