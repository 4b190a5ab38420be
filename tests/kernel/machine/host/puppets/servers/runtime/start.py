"""A runtime for tests of the host machine: processes that do what they are told, good or evil.

A *puppet* waits on an endpoint for Python source, executes it and answers with what it left in
``result``.  The names it finds are those of this module: ``k`` for system calls, ``slots`` for what
it was born with, ``spawn`` and ``tell`` for puppets of its own.
"""

import sys

sys.path += sys.argv[1:]

import ctypes
import mmap
import os
import queue
import socket
import threading
import time
import traceback

import msgpack

from kernel.abi import CALLS, MAX_FRAME, Right

NUMBERS = {spec.name: spec.number for spec in CALLS}
libc = ctypes.CDLL(None, use_errno=True)
notices = socket.socket(fileno=4)


handed = queue.SimpleQueue()  # descriptors that came, if somebody listens
HANDING = ("map", "device_map", "link_open")


class Pipes:
    """A channel: one pipe out, one in."""

    def __init__(self, requests, answers):
        self.fd, self.answers = requests, answers

    def send(self, data):
        return os.write(self.fd, data)

    def recv(self, size):
        return os.read(self.answers, size)


class Calls:
    """System calls by name: ``k.map(slot, 1)`` returns the results; errors raise ``OSError``."""

    def __init__(self, channel):
        self.channel = channel
        self.listening = False
        self.name = ""
        self.fds = []

    def send(self, name, *arguments):
        self.name = name
        self.channel.send(msgpack.packb([NUMBERS[name], *arguments]))

    def receive(self):
        data = self.channel.recv(MAX_FRAME + 64)
        if not data:
            os._exit(0)
        error, *results = msgpack.unpackb(data)
        if error:
            raise OSError(error, "kernel error")
        if self.name in HANDING:
            self.fds = [handed.get() if self.listening else socket.recv_fds(notices, 99, 1)[1][0]]
        return results[0] if len(results) == 1 else results

    def __getattr__(self, name):
        def call(*arguments):
            self.send(name, *arguments)
            return self.receive()

        return call


k = Calls(Pipes(3, 5))
slots = {}
children = {}
mappings = {}
faults = 0


def map_frame(slot, rights=3):
    """Map a frame as an honest process does."""
    mapping, size = k.map(slot, rights)
    (fd,) = k.fds
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if rights & 2 else 0)
    mappings[mapping] = mmap.mmap(fd, size, mmap.MAP_SHARED, prot)
    os.close(fd)
    return mapping


def spawn(name, quota=64 << 20, flags=0, entry="puppet", fault=0):
    """Start a puppet; returns the slots of its space and endpoint."""
    space = k.space_create(name, quota, 0, 0, flags, fault)
    endpoint = k.endpoint_create()
    theirs = k.cap_mint(endpoint, int(Right.RECEIVE | Right.SEND | Right.GRANT), 0, space)
    k.thread_create(space, entry, msgpack.packb([b"", {"operator": theirs}, name]), 100)
    children[name] = (space, endpoint)
    return space, endpoint


def tell(name, source, caps=()):
    """Have a child execute ``source``, which finds the capabilities in ``given``."""
    _, data, _ = k.call(children[name][1], 0, source.encode(), list(caps), 5_000_000_000)
    return msgpack.unpackb(data, strict_map_key=False)


def listen(obedient=True):
    """Answer notices."""
    k.listening = True
    threads = []

    def run():
        while True:
            data, fds, _, _ = socket.recv_fds(notices, MAX_FRAME, 2)
            if not data:
                return
            kind, *rest = msgpack.unpackb(data)
            if kind == 0:
                if obedient and rest[0] in mappings:
                    mappings.pop(rest[0]).close()
                notices.send(rest[0].to_bytes(8, "little"))
            elif kind == 2:
                handed.put(fds[0])
            else:
                calls = Calls(Pipes(*fds))
                thread = threading.Thread(target=globals()[rest[0]], args=(calls, rest[1]))
                thread.start()
                threads.append(thread)

    threading.Thread(target=run, daemon=True).start()


def echo(k, data, caps):
    return data


def puppet(argument):
    _, born, name = msgpack.unpackb(argument)
    slots.update(born)
    badge, label, data, given, reply = k.recv(slots["operator"], -1)
    while True:
        if label >= 1 << 32:
            slots.setdefault("heard", []).append([badge, label, data])
            badge, label, data, given, reply = k.recv(slots["operator"], -1)
            continue
        space = {**globals(), "given": given, "result": None, "name": name}
        try:
            exec(data.decode(), space)
            answer = msgpack.packb([True, space["result"]])
        except BaseException:
            answer = msgpack.packb([False, traceback.format_exc()[-2000:]])
        caps = space.get("caps", [])
        badge, label, data, given, reply = k.reply_recv(
            reply, 0, answer, caps, slots["operator"], -1
        )


def ping(argument):
    """Echo messages, as lean as can be."""
    _, born, _ = msgpack.unpackb(argument)
    endpoint, pack, unpack = born["operator"], msgpack.Packer(autoreset=True).pack, msgpack.unpackb
    send, recv, number = k.channel.send, k.channel.recv, NUMBERS["reply_recv"]
    reply, data = 0, b""
    while True:
        send(pack([number, reply, 0, data, [], endpoint, -1]))
        _, _, _, data, _, reply = unpack(recv(MAX_FRAME))


if __name__ == "__main__":
    entry, argument, second, flags = msgpack.unpackb(notices.recv(2 * MAX_FRAME))
    if entry != "silent":
        globals()[entry](argument)
    time.sleep(60)
