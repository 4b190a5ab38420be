"""``vm``: virtual machines, each a process whose VMM offers ``vm``, and their consoles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from images import cache
from servers.console.interface import ConsoleControl
from servers.display.interface import DisplayControl
from servers.init.interface import ProcessInfo
from servers.init.planning import BIOS
from servers.runtime import KernelError, NotFound, ServiceError
from tools import moving, screens
from tools.errors import UserError
from tools.render import seconds, table
from tools.shell import control
from tools.shell.session import Session
from tools.shell.words import name, number
from vmm.interface import Vm

TAIL: Final = 32 * 1024
"""Bytes of a console's output that are shown without a terminal."""
LATEST: Final = 60 * 1024
"""Bytes of output in which text that is expected is looked for: what one message carries."""
PATIENCE: Final = 60.0
"""Seconds that ``vm wait`` and ``vm expect`` wait, unless they are told."""


def _consoles(session: Session) -> ConsoleControl:
    return session.open(ConsoleControl, "console.control")


def _running(session: Session, who: str) -> Vm:
    if session.process(who).state != "running":
        raise UserError(f"{who} is not running; start it with: vm start {who}")
    return session.open(Vm, f"{who}.vm")


def _seconds(words: list[str]) -> float:
    if not words:
        return PATIENCE
    try:
        return float(words[0])
    except ValueError:
        raise UserError(f"{words[0]!r} is not a number of seconds") from None


def _list(session: Session, _words: list[str]) -> None:
    rows = [
        [info.name, _state(session, info), info.starts, info.ended or "-"]
        for info in session.processes()
        if info.vm
    ]
    table(("vm", "state", "starts", "last end"), rows)


def _state(session: Session, info: ProcessInfo) -> str:
    """Init knows of the process; whether its guest is paused, the VMM knows."""
    if info.state != "running" or session.machine == "sim":
        return info.state
    try:
        return session.open(Vm, f"{info.name}.vm").status().state
    except (KernelError, ServiceError):
        return info.state  # it has just ended


def _start(session: Session, words: list[str]) -> None:
    who = words[0]
    guest = next(vm for vm in session.source.description.vm if vm.name == who)
    for file in (guest.kernel, guest.initrd, BIOS if guest.bios else ""):
        scheme, _, rest = file.partition(":")
        if scheme == "image" and not (cache.folder() / "images" / rest).exists():
            recipe = "seabios" if file == BIOS else "linux"
            raise UserError(f"{who} has no {rest}; fetch it with: cloister images fetch {recipe}")
    session.shown.pop(who, None)
    control.start(session, words)
    if session.terminal:
        print(f"its console: vm console {who}")


def _pause(session: Session, words: list[str]) -> None:
    _running(session, words[0]).pause()
    print(f"{words[0]} paused")


def _resume(session: Session, words: list[str]) -> None:
    _running(session, words[0]).resume()
    print(f"{words[0]} goes on")


def _status(session: Session, words: list[str]) -> None:
    status = _running(session, words[0]).status()
    exits = ", ".join(f"{kind} {count}" for kind, count in status.exits.items()) or "never"
    print(f"{words[0]}: {status.state}, up for {seconds(status.uptime_ns)}")
    print(f"left the engine: {exits}")


def _registers(session: Session, words: list[str]) -> None:
    print(_running(session, words[0]).registers())


def _disassemble(session: Session, words: list[str]) -> None:
    vm = _running(session, words[0])
    if not words[1:]:
        print(vm.registers().partition("idtr")[2].partition("\n")[2])
        return
    try:
        address = int(words[1], 0)
    except ValueError:
        raise UserError(f"{words[1]!r} is not an address, such as 0x1000") from None
    print(vm.disassemble(address))


def _gdb(session: Session, words: list[str]) -> None:
    from tools.gdb import DEFAULT_PORT, Bridge

    who = words[0]
    port = number(words[1:], DEFAULT_PORT, "ports")
    with Bridge(_running(session, who), port) as bridge:
        print(f"now, elsewhere: gdb -ex 'target remote :{bridge.port}'", flush=True)
        while not bridge.connected:
            bridge.pump(0.1)
            session.check()
        print(f"a debugger has {who}; the shell goes on when it leaves", flush=True)
        while bridge.connected and session.process(who).state == "running":
            for _ in range(50):
                bridge.pump(0.02)


def _path(words: list[str], what: str) -> Path:
    if not words:
        raise UserError(f"name {what}")
    return Path(words[0])


def _progress(session: Session) -> moving.Progress:
    if not session.terminal:
        return lambda _size: None
    return lambda size: print(f"\r{size >> 20} MiB ", end="", flush=True)


def _snapshot(session: Session, words: list[str]) -> None:
    path = _path(words[1:], "the file to write")
    size = moving.snapshot(_running(session, words[0]), path, _progress(session))
    print(f"\r{words[0]} is in {path}, {size >> 20} MiB, and goes on")


def _restore(session: Session, words: list[str]) -> None:
    path = _path(words[1:], "the file of a snapshot")
    moving.verify(path)
    if session.process(words[0]).state != "running":
        control.start(session, words[:1])
    moving.restore(_running(session, words[0]), path, _progress(session))
    print(f"\r{words[0]} goes on from {path}")


def _clone(session: Session, words: list[str]) -> None:
    if not words[1:]:
        raise UserError("name the virtual machine that becomes the clone")
    other = session.process(words[1])
    if not other.vm or words[1] == words[0]:
        raise UserError(f"{words[1]} is not another virtual machine")
    vm = _running(session, words[0])
    if other.state != "running":
        control.start(session, words[1:2])
    moving.clone(vm, _running(session, words[1]), _progress(session))
    print(f"\r{words[1]} is a clone of {words[0]} now; both go on")


def _migrate(session: Session, words: list[str]) -> None:
    host, _, port = (words[1] if words[1:] else "").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError("say where to, such as: vm migrate linux otherhost:4444")
    moving.migrate(_running(session, words[0]), host, int(port), _progress(session))
    control.stop(session, words[:1])
    print(f"\r{words[0]} has moved to {words[1]}")


def _receive(session: Session, words: list[str]) -> None:
    address, _, port = (words[1] if words[1:] else "").rpartition(":")
    if words[1:] and not port.isdecimal():
        raise UserError(f"{words[1]!r} is neither a port nor an address with one")
    if session.process(words[0]).state != "running":
        control.start(session, words[:1])
    receiver = moving.Receiver(address or "127.0.0.1", int(port or moving.DEFAULT_PORT))
    try:
        print(f"waiting for a guest at port {receiver.port}", flush=True)
        where = receiver.receive(_running(session, words[0]), _progress(session))
    finally:
        receiver.close()
    print(f"\r{words[0]} came from {where}, and goes on")


def _console(session: Session, words: list[str]) -> None:
    who = words[0]
    if not session.terminal or session.machine == "sim":
        tail = _consoles(session).tail(who, TAIL).decode(errors="replace").replace("\r", "")
        print(tail, end="" if tail.endswith("\n") or not tail else "\n")
        return
    from tools.console import ENDED, attend

    _running(session, who)
    print(f"The terminal is {who}'s now; Control-] takes it back.", flush=True)
    how = attend(session.system, who)
    print(f"\n{who} ended" if how == ENDED else f"\nback from {who}, which goes on")


def _type(session: Session, words: list[str]) -> None:
    _running(session, words[0])
    _consoles(session).type(words[0], " ".join(words[1:]).encode() + b"\r")


def _wait(session: Session, words: list[str]) -> None:
    who, patience = words[0], _seconds(words[1:])
    if not session.until(lambda: session.process(who).state != "running", patience):
        raise UserError(f"{who} was still running after {patience:g} s")
    info = session.process(who)
    print(f"{who} {info.state}: {info.ended}" if info.ended else f"{who} {info.state}")


def _expect(session: Session, words: list[str]) -> None:
    who, consoles = words[0], _consoles(session)
    if len(words) < 2:
        raise UserError(f"say what to expect, such as: vm expect {who} login:")
    text, patience = words[1].encode(), _seconds(words[2:])

    def found() -> bool:
        written = next((c.written for c in consoles.consoles() if c.name == who), 0)
        fresh = min(written - session.shown.get(who, 0), LATEST)
        output = consoles.tail(who, fresh) if fresh > 0 else b""
        at = output.find(text)
        if at >= 0:
            session.shown[who] = written - fresh + at + len(text)
        return at >= 0

    if not session.until(found, patience):
        raise UserError(f"{who} did not say {words[1]!r} in {patience:g} s")


def _screens(session: Session) -> DisplayControl:
    try:
        return session.open(DisplayControl, screens.CONTROL)
    except (KernelError, ServiceError):
        raise UserError("no guest here has a screen; give a [[vm]] 'display = true'") from None


def _screenshot(session: Session, words: list[str]) -> None:
    path = _path(words[1:], "the file to write, such as: vm screenshot linux linux.png")
    try:
        screens.save(_screens(session), words[0], path)
    except NotFound as error:
        raise UserError(str(error)) from None
    print(f"{words[0]}'s screen is in {path}")


def _keys(session: Session, words: list[str]) -> None:
    if not words[1:]:
        raise UserError("name the keys, such as: vm keys linux ctrl-alt-delete")
    control = _screens(session)
    for word in words[1:]:
        try:
            control.press(words[0], screens.codes(word))
        except NotFound as error:
            raise UserError(str(error)) from None


_ACTIONS: Final = {
    "list": _list,
    "start": _start,
    "stop": control.stop,
    "pause": _pause,
    "resume": _resume,
    "status": _status,
    "registers": _registers,
    "disassemble": _disassemble,
    "gdb": _gdb,
    "snapshot": _snapshot,
    "restore": _restore,
    "clone": _clone,
    "migrate": _migrate,
    "receive": _receive,
    "console": _console,
    "type": _type,
    "expect": _expect,
    "wait": _wait,
    "screenshot": _screenshot,
    "keys": _keys,
}
ACTIONS: Final = tuple(_ACTIONS)
"""What can be done with a virtual machine."""
HELP: Final = """\
vm list                         the virtual machines
vm start|stop NAME
vm pause|resume NAME            stop the guest's processor between two instructions, let it go on
vm status NAME                  for how long it ran, and why it left its engine
vm registers NAME               the processor's registers, and the code that it is at
vm disassemble NAME [ADDRESS]   the code there
vm gdb NAME [PORT]              let a debugger connect (to 127.0.0.1:1234) until it leaves
vm snapshot NAME FILE           write down all of the guest; it goes on
vm restore NAME FILE            have it be what it was
vm clone NAME OTHER             have another virtual machine be what it is; both go on
vm migrate NAME HOST:PORT       send it to a Cloister where 'vm receive' waits, while it runs
vm receive NAME [[HOST:]PORT]   wait for it (at 127.0.0.1:4444)
vm console NAME                 have its console until Control-]; without a terminal, show its end
vm type NAME TEXT...            type a line at its console
vm expect NAME TEXT [SECONDS]   wait until its console shows a text, after what was expected before
vm wait NAME [SECONDS]          wait until it has ended
vm screenshot NAME FILE.png     write down what its screen shows, under the bar with its label
vm keys NAME KEY...             press keys before its screen, such as: ctrl-alt-delete a enter"""


def vm(session: Session, words: list[str]) -> None:
    if not words or words[0] not in _ACTIONS:
        raise UserError(f"say what to do: vm {'|'.join(_ACTIONS)}; 'help vm' explains them")
    if words[0] != "list":
        info = session.process(name(words[1:], "a virtual machine"))
        if not info.vm:
            raise UserError(f"{info.name} is not a virtual machine; 'vm list' shows them")
    _ACTIONS[words[0]](session, words[1:])
    sys.stdout.flush()  # before what a console shows
