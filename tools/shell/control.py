"""Commands that start and end processes, and that say what became of them."""

from __future__ import annotations

import time
from typing import Final

from servers.audit.interface import AuditReader
from servers.init.interface import ProcessInfo
from tools.errors import UserError
from tools.render import seconds, table
from tools.shell.session import Session
from tools.shell.words import name, number

RESTART: Final = 15.0
"""Seconds in which something that was killed is expected to run again."""


def start(session: Session, words: list[str]) -> None:
    who = name(words)
    session.system.control.start(who)
    print(f"{who} started{_pid(session, who)}")


def stop(session: Session, words: list[str]) -> None:
    who = name(words)
    session.system.control.stop(who)
    session.until(lambda: session.space(who) is None, RESTART)
    print(f"{who} stopped")


def _pid(session: Session, who: str) -> str:
    space = session.space(who)
    return f", pid {space.pid}" if space and space.pid else ""


def kill(session: Session, words: list[str]) -> None:
    info = session.process(name(words))
    before = session.space(info.name)
    session.system.control.kill(info.name)
    found: list[ProcessInfo] = []

    def settled() -> bool:
        found[:] = [session.process(info.name)]
        if found[0].state == "running":
            return found[0].starts > info.starts
        return found[0].state != "restarting" and not _restarts(session, info.name)

    if not session.until(settled, RESTART):
        raise UserError(f"{info.name} was killed and does not run again; see 'log'")
    now = found[0]
    if now.state != "running":
        print(f"{info.name} was killed; its rule is not to restart it")
        return
    after = session.space(info.name)
    pids = f": pid {before.pid} is now {after.pid}" if before and after and after.pid else ""
    print(f"{info.name} was killed and runs again{pids}")


def _restarts(session: Session, who: str) -> bool:
    """Whether a process that was killed will run again, where init cannot be asked."""
    rule = next(process.restart for process in session.plan.processes if process.name == who)
    return session.machine == "sim" and rule != "never"


def log(session: Session, words: list[str]) -> None:
    reader = session.open(AuditReader, "audit.reader")
    if words[:1] == ["verify"]:
        bad = reader.verify()
        if bad:
            raise UserError(f"the audit log was changed: entry {bad} does not fit the chain")
        print(f"{reader.count()} entries, the chain is whole")
        return
    wanted = number(words, 20, "entries")
    count = _settled(session, reader)
    rows: list[list[object]] = []
    at = max(1, count - wanted + 1)
    while at <= count:
        records = reader.read(at, count - at + 1)
        if not records:
            break
        rows += [[r.number, seconds(r.time), r.source, r.event, r.detail] for r in records]
        at = records[-1].number + 1
    table(("entry", "time", "who", "what", "detail"), rows)


def _settled(session: Session, reader: AuditReader) -> int:
    """How many entries there are once init, which never waits for the log, has written its own."""
    count = -1
    for _ in range(20):
        before, count = count, reader.count()
        if count == before:
            break
        if session.machine == "host":
            time.sleep(0.05)
    return count


def tcb(session: Session, words: list[str]) -> None:
    """Of what the processes hold now."""
    from tools.tcb import show
    from tools.tcb.graph.closure import why
    from tools.tcb.report import report
    from tools.tcb.systems.live import live

    vms = [process.name for process in session.plan.processes if process.vm]
    graph = live(session.system, session.source)
    if words[:1] == ["why"]:
        if len(words) != 3:
            raise UserError("write: tcb why SUBJECT MEMBER")
        subject, member = words[1:]
        show.why(subject, member, why(graph, subject, member), graph.name)
        return
    running = [f"vm:{name}" for name in vms if f"vm:{name}" in graph.components]
    if not words and not running:
        raise UserError("name a process")
    show.report(report(graph, words[0] if words else running[-1]))
