"""What else Python programs call each other with: the same call, on the same core, in one run.

Each peer is a library that may be installed or not.  Its server is a process of its own, started as
``python -m tools.bench.peers NAME ADDRESS``; a call takes bytes and gives them back.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

Call = Callable[[bytes], object]
_START: Final = 20.0
"""Seconds that a server has to start."""
_DBUS_NAME: Final = "org.cloister.Bench"
_DBUS_PATH: Final = "/org/cloister/Bench"


class Peer(NamedTuple):
    """A library: the module by which it is known, its server, and how a client calls it."""

    module: str
    serve: Callable[[str], None]
    connect: Callable[[str], Call]


def _serve_zmq(address: str) -> None:
    import zmq

    socket: Any = zmq.Context.instance().socket(zmq.REP)
    socket.bind(f"ipc://{address}")
    while True:
        socket.send(socket.recv())


def _connect_zmq(address: str) -> Call:
    import zmq

    socket: Any = zmq.Context.instance().socket(zmq.REQ)
    socket.linger = 0
    socket.connect(f"ipc://{address}")

    def call(data: bytes) -> bytes:
        socket.send(data)
        found: bytes = socket.recv()
        return found

    return call


def _serve_pyro(address: str) -> None:
    import Pyro5.api

    Pyro5.config.SERIALIZER = "msgpack"

    @Pyro5.api.expose  # type: ignore[untyped-decorator,unused-ignore]
    class Echo:
        def echo(self, data: bytes) -> bytes:
            return data

    daemon = Pyro5.api.Daemon(unixsocket=address)
    daemon.register(Echo, "echo")
    daemon.requestLoop()


def _connect_pyro(address: str) -> Call:
    import Pyro5.api

    Pyro5.config.SERIALIZER = "msgpack"
    proxy = Pyro5.api.Proxy(f"PYRO:echo@./u:{address}")
    proxy._pyroBind()
    call: Call = proxy.echo
    return call


def _serve_rpyc(address: str) -> None:
    from rpyc.utils.server import OneShotServer

    OneShotServer(_rpyc_service(), socket_path=address).start()


def _rpyc_service() -> Any:
    import rpyc

    class Echo(rpyc.Service):  # type: ignore[misc,unused-ignore]
        def exposed_echo(self, data: bytes) -> bytes:
            return data

    return Echo


def _connect_rpyc(address: str) -> Call:
    import rpyc

    call: Call = rpyc.utils.factory.unix_connect(address).root.echo
    return call


def _serve_grpc(address: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    echo = grpc.unary_unary_rpc_method_handler(lambda data, _: data)
    server = grpc.server(ThreadPoolExecutor(1))
    handler = grpc.method_handlers_generic_handler("bench.Echo", {"Echo": echo})
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"unix:{address}")
    server.start()
    server.wait_for_termination()


def _connect_grpc(address: str) -> Call:
    import grpc

    call: Call = grpc.insecure_channel(f"unix:{address}").unary_unary("/bench.Echo/Echo")
    return call


def _serve_dbus(address: str) -> None:
    from jeepney import MessageType, message_bus, new_method_return
    from jeepney.io.blocking import Proxy, open_dbus_connection

    connection = open_dbus_connection(bus=f"unix:path={address}")
    Proxy(message_bus, connection).RequestName(_DBUS_NAME)
    while True:
        message = connection.receive()
        if message.header.message_type is MessageType.method_call:
            connection.send(new_method_return(message, "ay", message.body))


def _connect_dbus(address: str) -> Call:
    from jeepney import DBusAddress, new_method_call
    from jeepney.io.blocking import open_dbus_connection

    connection = open_dbus_connection(bus=f"unix:path={address}")
    to = DBusAddress(_DBUS_PATH, bus_name=_DBUS_NAME, interface=_DBUS_NAME)

    def call(data: bytes) -> object:
        message = new_method_call(to, "Echo", "ay", (data,))
        return connection.send_and_get_reply(message).body[0]

    return call


PEERS: Final = {
    "pyzmq": Peer("zmq", _serve_zmq, _connect_zmq),
    "Pyro5": Peer("Pyro5", _serve_pyro, _connect_pyro),
    "rpyc": Peer("rpyc", _serve_rpyc, _connect_rpyc),
    "grpc": Peer("grpc", _serve_grpc, _connect_grpc),
    "D-Bus": Peer("jeepney", _serve_dbus, _connect_dbus),
}


def installed() -> list[str]:
    """The peers that are here; D-Bus needs its daemon, too."""
    return [
        name
        for name, peer in PEERS.items()
        if importlib.util.find_spec(peer.module) is not None
        and (name != "D-Bus" or shutil.which("dbus-daemon"))
    ]


@contextmanager
def _started(*command: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def connected(name: str, core: int) -> Iterator[Call]:
    """A client of a peer's server, both of them and what is between them on one core."""
    allowed = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder) / "s")
        os.sched_setaffinity(0, {core})
        try:
            with _bus(name, address), _started(sys.executable, "-m", __name__, name, address):
                yield _wait_for(PEERS[name], address)
        finally:
            os.sched_setaffinity(0, allowed)


@contextmanager
def _bus(name: str, address: str) -> Iterator[None]:
    """A message bus of our own, for the peer that needs one."""
    if name != "D-Bus":
        yield
        return
    with _started(
        *("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address=unix:path={address}")
    ):
        yield


def _wait_for(peer: Peer, address: str) -> Call:
    """Connect as soon as the server is there."""
    end = time.monotonic() + _START
    while True:
        with suppress(Exception):  # each library has its own for a server that is not there yet
            if Path(address).exists():
                call = peer.connect(address)
                if bytes(call(b"ready")) == b"ready":  # type: ignore[call-overload]
                    return call
        if time.monotonic() > end:
            raise TimeoutError("the server did not start")
        time.sleep(0.05)


def measure(core: int, size: int, calls: int, rounds: int) -> dict[str, float]:
    """Median microseconds of a call by each peer that is installed and starts."""
    found: dict[str, float] = {}
    for name in installed():
        try:
            with connected(name, core) as call:
                found[name] = round(statistics.median(_times(call, size, calls, rounds)), 2)
        except TimeoutError:
            print(f"cloister: the server of {name} did not start", file=sys.stderr)
    return found


def _times(call: Call, size: int, calls: int, rounds: int) -> list[float]:
    """Microseconds of a call, of each round."""
    data, times = bytes(size), []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        for _ in range(calls):
            call(data)
        times.append((time.perf_counter_ns() - start) / calls / 1000)
    return times


if __name__ == "__main__":
    PEERS[sys.argv[1]].serve(sys.argv[2])
