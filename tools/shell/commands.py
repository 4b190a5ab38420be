"""The commands, as a table: name -> arguments, what it does, and the function that does it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from kernel.abi import DebugOp, Right, ThreadState
from servers.audit.interface import AuditReader
from servers.console.interface import ConsoleControl
from servers.runtime import KernelError, NotFound, ServiceError
from servers.runtime.server import OFFER_SHIFT, SESSION
from tools.console import ENDED, attend
from tools.errors import UserError
from tools.shell import simulation
from tools.shell.session import Session
from tools.shell.tables import seconds, show, size
from tools.trace.words import COLUMNS, row
from vmm.interface import Vm

RESTART_TIMEOUT = 10.0
"""Seconds in which something killed is expected to run again."""

Action = Callable[[Session, list[str]], None]


class Command(NamedTuple):
    """One command of the shell."""

    arguments: str
    text: str
    action: Action


def _count(words: list[str], default: int) -> int:
    if not words:
        return default
    if not words[0].isdigit():
        raise UserError(f"{words[0]!r} is not a number")
    return int(words[0])


def _name(words: list[str], what: str = "a process") -> str:
    if not words:
        raise UserError(f"name {what}")
    return words[0]


# Processes


def ps(session: Session, _words: list[str]) -> None:
    starts = {info.name: info for info in session.processes()}  # first: init answers when ready
    spaces = {space.name: space for space in session.spaces().values()}
    rows = []
    for name in [name for name in spaces if name not in starts] + list(starts):
        info, space = starts.get(name), spaces.get(name)
        state = info.state if info else "running"
        if space is None:
            rows.append([name, "-", "-", state, "-", "-", "-", "-", info.starts if info else "-"])
            continue
        rows.append(
            [
                *(name, space.pid or "-", space.threads, state),
                seconds(space.cpu_ns) if space.pid else "-",
                size(space.resident) if space.pid else "-",
                f"{size(space.used)}/{size(space.limit)}",
                *(session.label(space.label), info.starts if info else "-"),
            ]
        )
    columns = ["process", "pid", "threads", "state", "cpu", "memory", "quota", "label", "starts"]
    show(columns, rows)


def threads(session: Session, _words: list[str]) -> None:
    spaces = session.spaces()
    rows = [
        [
            *(thread.id, spaces[thread.space].name, thread.name),
            *(ThreadState(thread.state).name.lower(), thread.priority),
            f"object {thread.blocked_on}" if thread.blocked_on else "-",
        ]
        for thread in session.threads()
        if thread.space in spaces
    ]
    show(["thread", "process", "name", "state", "priority", "blocked on"], rows)


def spaces(session: Session, _words: list[str]) -> None:
    rows = [
        [
            *(space.id, space.name, session.label(space.label), size(space.used)),
            *(size(space.limit), space.capabilities, space.mappings, space.threads),
        ]
        for space in session.spaces().values()
    ]
    columns = ["space", "name", "label", "used", "quota", "capabilities", "mappings", "threads"]
    show(columns, rows)


def endpoints(session: Session, _words: list[str]) -> None:
    known = session.spaces()
    servers: dict[int, set[str]] = {}
    for space, _, _, target, rights, _, _, _ in session.rows(DebugOp.CAPABILITIES):
        if rights & Right.RECEIVE and space in known:
            servers.setdefault(target, set()).add(known[space].name)
    rows = [
        [
            *(number, session.label(label)),
            ", ".join(sorted(servers.get(number, set()) - {"init"})) or "init",
            *(senders, receivers),
        ]
        for number, label, senders, receivers, _ in session.rows(DebugOp.ENDPOINTS)
    ]
    show(["endpoint", "owner", "served by", "callers waiting", "servers waiting"], rows)


def caps(session: Session, words: list[str]) -> None:
    space = session.space(_name(words))
    known = session.spaces()
    clients = ["init", *(info.name for info in session.processes())]
    rows = []
    for owner, slot, kind, target, rights, badge, parent, parent_slot in session.rows(
        DebugOp.CAPABILITIES
    ):
        if owner == space.id:
            origin = f"{known[parent].name}:{parent_slot}" if parent in known else "-"
            sender = _badge(badge, clients) if kind == "Endpoint" else badge or "-"
            row = [slot, kind.lower(), target, _rights(rights), sender, origin]
            rows.append(row)
    show(["slot", "kind", "object", "rights", "badge", "derived from"], rows)


def _rights(rights: int) -> str:
    """Letters: read, write, send, receive, control, grant."""
    return "".join(
        letter if rights >> bit & 1 else "-" for bit, letter in enumerate("rwsvcg")
    )


def _badge(badge: int, clients: list[str]) -> str:
    if not badge:
        return "-"
    if badge & SESSION:
        return f"session {badge & ~SESSION}"
    offer, client = badge >> OFFER_SHIFT, badge & ((1 << OFFER_SHIFT) - 1)
    name = clients[client] if client < len(clients) else f"client {client}"
    return f"offer {offer}, {name}"


def start(session: Session, words: list[str]) -> None:
    name = _name(words)
    session.system.control.start(name)
    print(f"{name} started")


def stop(session: Session, words: list[str]) -> None:
    name = _name(words)
    session.system.control.stop(name)
    print(f"{name} stopped")


def kill(session: Session, words: list[str]) -> None:
    info = session.process(_name(words))
    before = session.space(info.name) if info.state == "running" else None
    session.system.control.kill(info.name)
    deadline = time.monotonic() + RESTART_TIMEOUT
    while time.monotonic() < deadline:
        now = session.process(info.name)
        if now.state in ("stopped", "failed"):
            print(f"{info.name} is {now.state}: {now.ended}")
            return
        if now.state == "running" and now.starts > info.starts:
            space = session.space(info.name)
            who = f" (pid {before.pid} -> {space.pid})" if before and space.pid else ""
            print(f"{info.name} was killed and runs again{who}")
            return
        time.sleep(0.01)
    raise UserError(f"{info.name} was killed and does not run again; see 'log'")


# Virtual machines


def vm(session: Session, words: list[str]) -> None:
    actions = {
        "list": vm_list,
        "start": start,
        "stop": stop,
        "pause": vm_pause,
        "resume": vm_resume,
        "status": vm_status,
        "console": vm_console,
        "type": vm_type,
        "wait": vm_wait,
    }
    action = actions.get(words[0]) if words else None
    if action is None:
        raise UserError(f"say what to do with it: vm {'|'.join(actions)}")
    if words[0] != "list":
        info = session.process(_name(words[1:], "a virtual machine"))
        if not info.vm:
            raise UserError(f"{info.name} is not a virtual machine")
    action(session, words[1:])


def vm_list(session: Session, _words: list[str]) -> None:
    rows = [
        [info.name, info.state, info.starts, info.ended or "-"]
        for info in session.processes()
        if info.vm
    ]
    show(["vm", "state", "starts", "last end"], rows)


def _machine(session: Session, name: str) -> Vm:
    if session.process(name).state != "running":
        raise UserError(f"{name} is not running; start it with: vm start {name}")
    return session.open(Vm, f"{name}.vm")


def vm_pause(session: Session, words: list[str]) -> None:
    _machine(session, words[0]).pause()
    print(f"{words[0]} paused")


def vm_resume(session: Session, words: list[str]) -> None:
    _machine(session, words[0]).resume()
    print(f"{words[0]} goes on")


def vm_status(session: Session, words: list[str]) -> None:
    status = _machine(session, words[0]).status()
    exits = ", ".join(f"{kind} {count}" for kind, count in status.exits.items())
    print(f"{words[0]}: {status.state} for {seconds(status.uptime_ns)}; left the engine: {exits}")


def vm_console(session: Session, words: list[str]) -> None:
    name = words[0]
    if not session.terminal:
        tail = session.open(ConsoleControl, "console.control").tail(name, 32768)
        print(tail.decode(errors="replace").replace("\r", ""), end="")
        return
    if session.process(name).state != "running":
        raise UserError(f"{name} is not running; start it with: vm start {name}")
    print(f"the terminal is {name}'s now; Control-] takes it back")
    how = attend(session.system, name)
    print(f"\n{name} ended" if how == ENDED else f"\nback from {name}, which goes on")


def vm_type(session: Session, words: list[str]) -> None:
    text = " ".join(words[1:]) + "\r"
    session.open(ConsoleControl, "console.control").type(words[0], text.encode())


def vm_wait(session: Session, words: list[str]) -> None:
    ended = session.system.control.wait(words[0])
    print(f"{words[0]}: {ended or 'done'}")


# What happened


def log(session: Session, words: list[str]) -> None:
    reader = session.open(AuditReader, "audit.reader")
    if words[:1] == ["verify"]:
        bad = reader.verify()
        if bad:
            raise UserError(f"the audit log was changed: entry {bad} does not fit the chain")
        print(f"{reader.count()} entries, the chain is whole")
        return
    count = _settled(reader)
    wanted = min(_count(words, 20), count)
    rows: list[list[object]] = []
    while len(rows) < wanted:
        records = reader.read(count - wanted + 1 + len(rows), wanted - len(rows))
        if not records:
            break
        rows += [[r.number, seconds(r.time), r.source, r.event, r.detail] for r in records]
    show(["entry", "time", "who", "what", "detail"], rows)


def _settled(reader: AuditReader) -> int:
    """How many entries there are once init, which never waits for the log, has written its own."""
    count = -1
    for _ in range(20):
        before, count = count, reader.count()
        if count == before:
            break
        time.sleep(0.05)
    return count


def trace(session: Session, words: list[str]) -> None:
    names = {thread.id: thread.name for thread in session.threads()}
    events = session.rows(DebugOp.TRACE)[-_count(words, 20) :]
    show(COLUMNS, [row(event, names) for event in events])


def tcb(session: Session, words: list[str]) -> None:
    from tools.tcb.main import print_report

    print_report(session.source, words[0] if words else session.processes()[0].name)


def leave(session: Session, _words: list[str]) -> None:
    session.ended = True


def explain(_session: Session, words: list[str]) -> None:
    if words:
        command = find(words[0])
        print(f"{words[0]} {command.arguments}".rstrip() + f": {command.text}")
        return
    show(
        ["command", "what it does"],
        [[f"{name} {entry.arguments}".rstrip(), entry.text] for name, entry in COMMANDS.items()],
    )


COMMANDS: dict[str, Command] = {
    "ps": Command("", "processes with their state, time, memory and label", ps),
    "threads": Command("", "threads, and what they are blocked on", threads),
    "caps": Command("PROCESS", "the capabilities that a process holds", caps),
    "spaces": Command("", "address spaces and their quotas", spaces),
    "endpoints": Command("", "endpoints, who serves them and who waits", endpoints),
    "trace": Command("[N]", "the kernel's last N events", trace),
    "kill": Command("PROCESS", "end a process and see it restarted", kill),
    "start": Command("PROCESS", "start a process", start),
    "stop": Command("PROCESS", "end a process and leave it stopped", stop),
    "vm": Command(
        "list|start|stop|pause|resume|status|console|type|wait [NAME]", "virtual machines", vm
    ),
    "log": Command("[N|verify]", "the audit log, or whether it is whole", log),
    "tcb": Command("[PROCESS]", "the code that a process has to trust", tcb),
    "step": Command("[N]", "simulator: let N threads run to their next call", simulation.step),
    "run": Command("[N]", "simulator: run N steps, or until nobody can", simulation.run),
    "break": Command(
        "CALL|off", "simulator: stop when a thread makes that call", simulation.break_on
    ),
    "seed": Command(
        "[N]", "simulator: show the seed, or begin again with another", simulation.seed
    ),
    "back": Command("[N]", "simulator: go N steps back", simulation.back),
    "where": Command("", "simulator: how far the run is", simulation.where),
    "help": Command("[COMMAND]", "this list", explain),
    "quit": Command("", "end the system and leave", leave),
}


def find(name: str) -> Command:
    """A command by its name."""
    if name not in COMMANDS:
        raise UserError(f"there is no command {name!r}; 'help' lists them")
    return COMMANDS[name]


def execute(session: Session, line: str) -> None:
    """Run one line; raises ``UserError`` with a sentence if it fails."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return
    try:
        find(words[0]).action(session, words[1:])
    except NotFound as error:
        raise UserError(str(error)) from None
    except (KernelError, ServiceError) as error:
        raise UserError(f"{words[0]}: {error}") from None
