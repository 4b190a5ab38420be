"""Deadlines come in order, once, and never keep the loop busy."""

from __future__ import annotations

import threading
import time

from tests.vmm.rig import FakeClock
from vmm.clock import SECOND, TimerQueue
from vmm.pacer import ThreadPacer, Waiter


def test_order_and_cancelling() -> None:
    clock = FakeClock(0)
    timers = TimerQueue(clock)
    seen: list[str] = []
    timers.schedule(20, lambda: seen.append("b"))
    timers.schedule(10, lambda: seen.append("a"))
    timers.schedule(20, lambda: seen.append("c"))
    gone = timers.schedule(5, lambda: seen.append("never"))
    gone.cancel()
    assert timers.next_deadline() == 10
    clock.now = 15
    timers.run_due()
    assert seen == ["a"]
    clock.now = 20
    timers.run_due()
    assert seen == ["a", "b", "c"]
    assert timers.next_deadline() is None


def test_who_plans_again_waits_for_the_next_round() -> None:
    clock = FakeClock(100)
    timers = TimerQueue(clock)
    seen: list[int] = []

    def again() -> None:
        seen.append(1)
        timers.schedule(0, again)

    again()
    timers.run_due()
    assert len(seen) == 2
    timers.run_due()
    assert len(seen) == 3


def test_the_earliest_deadline_is_announced() -> None:
    timers = TimerQueue(FakeClock(0))
    said: list[int] = []
    timers.changed = said.append
    for deadline in (50, 70, 20):
        timers.schedule(deadline, lambda: None)
    assert said == [50, 20]


def test_cancelled_timers_do_not_pile_up() -> None:
    timers = TimerQueue(FakeClock(0))
    keep = timers.schedule(10, lambda: None)
    for i in range(10_000):
        timers.schedule(100 + i, lambda: None).cancel()
    assert len(timers._heap) < 200
    assert timers.next_deadline() == keep.deadline


def test_thread_pacer_kicks_at_the_earliest_deadline_and_once() -> None:
    kicks: list[int] = []
    kicked = threading.Event()

    def kick() -> None:
        kicks.append(time.monotonic_ns())
        kicked.set()

    pacer = ThreadPacer(kick, time.monotonic_ns)
    start = time.monotonic_ns()
    pacer.arm(start + 60 * SECOND)
    pacer.arm(start + SECOND // 100)
    assert kicked.wait(5)
    assert kicks[0] >= start + SECOND // 100
    pacer.arm(None)
    time.sleep(0.03)
    assert len(kicks) == 1
    pacer.close()


def test_waiter_remembers_a_wake() -> None:
    waiter = Waiter()
    waiter.wake()
    waiter.idle(None)
    start = time.monotonic()
    waiter.idle(0.02)
    assert time.monotonic() - start >= 0.015
