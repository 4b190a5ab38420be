"""Threads and the ends of them, and of the process."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

from kernel.abi import NULL, Right, ThreadOp
from servers.runtime import Endpoint, Environment
from tests.hostile.attacker import SECOND, Attacker
from tests.hostile.registry import Foiled, attack, harmless, killed, refused

_EXIT = {"x86_64": 60, "aarch64": 93}


@attack(killed("crashed: exited with status 3$"))
def leave_without_a_word(at: Attacker) -> object:
    """End the process behind the kernel's back."""
    os._exit(3)


@attack(killed(r"crashed: killed by signal (6|11) \(SIG(ABRT|SEGV)\)"))
def abort(at: Attacker) -> object:
    """End by a signal to itself."""
    os.abort()


@attack(harmless("cannot be stopped"))
def stop_itself(at: Attacker) -> object:
    """Stop, so that the kernel mistakes it for one that it has stopped."""
    at.host.tgkill(os.getpid(), os.getpid(), signal.SIGSTOP)
    raise Foiled("cannot be stopped but by the kernel")


@attack(killed("crashed: closed its channel|crashed: exited"))
def leave_threads_behind(at: Attacker) -> object:
    """End the first thread for the host, and go on in another with all descriptors closed."""

    def go_on() -> None:
        for fd in range(3, 64):
            try:
                os.close(fd)
            except OSError:
                pass
        time.sleep(5)

    threading.Thread(target=go_on).start()
    return at.host.call(_EXIT[os.uname().machine], 0)


@attack(killed("$|done"))
def exit_with_threads_left(at: Attacker) -> object:
    """End its first thread by system call, while others go on computing."""

    def burn(_env: Environment) -> None:
        while True:
            pass

    at.env.thread(burn, "burn")
    time.sleep(0.05)
    at.system.thread_exit(0, "")
    return "it goes on"


@attack(killed("as I like"))
def end_by_another_thread(at: Attacker) -> object:
    """Have a second thread end in failure while the first computes."""

    def fail(env: Environment) -> None:
        env.system.thread_exit(1, "as I like")

    at.env.thread(fail, "fail")
    return at.still_here()


@attack(killed("gone with a call unanswered"))
def leave_a_call_unanswered(at: Attacker) -> object:
    """End with a call unanswered; its caller hears that nobody is there."""
    endpoint = at.env.slot("evil")

    def leave(env: Environment) -> None:
        env.system.recv(endpoint, 5 * SECOND)
        env.system.thread_exit(1, "gone with a call unanswered")

    at.env.thread(leave, "leave")
    own = at.system.cap_mint(endpoint, Right.SEND | Right.GRANT, 0, NULL)
    return at.neighbour.visit(Endpoint(at.system, own), 2 * SECOND)


@attack(harmless("so be it"))
def suspend_itself(at: Attacker) -> object:
    """Suspend a thread of its own while it is called."""
    seen = []

    def wait(env: Environment) -> None:
        seen.append(env.system.clock())

    at.env.thread(wait, "wait")
    thread = at.system.thread_create(NULL, "never-registered", b"", 1)
    at.system.thread_control(thread, ThreadOp.SUSPEND, 0)
    at.system.thread_control(thread, ThreadOp.SUSPEND, 0)
    at.system.thread_control(thread, ThreadOp.RESUME, 0)
    raise Foiled("so be it")


@attack(harmless("asked for more"))
def raise_own_priority(at: Attacker) -> object:
    """Ask for the highest priority, for itself and for what it starts; ``rig`` sees to it."""
    at.system.thread_control(NULL, ThreadOp.PRIORITY, 255)
    at.system.thread_create(NULL, "never-registered", b"", 255)
    time.sleep(0.05)
    raise Foiled("asked for more than it had")


@attack(refused("BAD_ARGUMENT"))
def lift_own_budget(at: Attacker) -> object:
    """Take away the limit of the time that it may run."""
    at.system.thread_control(NULL, ThreadOp.BUDGET, 0)
    return "no limit"


FORGED = "bye\r\n99  0.1  kernel  end  victim: done\x1b[2J\x1b]0;evil\x07\u202e"
"""A line that was never logged, and orders to the terminal that it is shown on."""


@attack(killed(re.escape(FORGED) + "$"))
def forge_a_line_of_the_log(at: Attacker) -> object:
    """End with a reason that looks like an entry of the log, in a terminal."""
    at.system.thread_exit(1, FORGED)
    return "it goes on"
