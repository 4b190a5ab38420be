"""Threads on the host machine, where it has none left."""

from __future__ import annotations

import os
import socket
import sys
import threading

import msgpack
import pytest

if sys.platform != "linux":
    pytest.skip("the host machine needs Linux", allow_module_level=True)

from kernel.abi import CALLS, Fault
from servers.runtime.host import THREAD, HostProcess


def test_a_process_that_gets_no_thread_ends_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    requests, theirs = os.pipe()
    answers, say = os.pipe()
    process = HostProcess(ours, lambda: None)
    process.register("helper", lambda _channel, _argument: None)

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    socket.send_fds(kernel, [msgpack.packb([THREAD, "helper", b""])], [theirs, answers])
    number, fault, reason = msgpack.unpackb(os.read(requests, 4096))
    assert CALLS[number].name == "thread_exit"
    assert fault == Fault.EXCEPTION
    assert reason == "the host lets this process have no other thread"
    os.write(say, msgpack.packb([0]))
    kernel.close()
