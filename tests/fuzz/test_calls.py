"""Dispatchers: all of them are fuzzed, and none grows."""

from __future__ import annotations

from contextlib import suppress

import pytest

from kernel.abi import Right
from servers.runtime.direct import CONNECT
from servers.runtime.errors import TimedOut
from tests.fuzz.calls import OFFERS, TIMEOUT, Message, Rig, interface, known, table
from tests.fuzz.source import Source

MAY_GROW = {
    ("init", "watch"),  # a notification each, until the process ends
    ("init", "wait"),
    ("echo.echo", "session"),  # a session each
    ("echo.echo", "share"),  # gives back what it gets, and forgets that it has it
    ("echo.echo", "later"),
}


NOT_SIMULATED = {"drivers.vnc.interface.Viewer"}  # it has nothing without a socket of the host


def test_every_interface_is_called() -> None:
    assert known() - NOT_SIMULATED <= {offer.interface for offer in OFFERS.values()}


def test_a_server_does_not_grow_by_making_links_and_threads() -> None:
    rig, sizes = Rig(), []
    for _ in range(6):
        _, _, (link,) = rig.calls.call(rig.slots["echo.echo"], CONNECT, b"\x90", [], TIMEOUT)
        rig.calls.link_open(link, Right.SEND)
        rig.calls.cap_drop(link)
        rig.settle()
        sizes.append(table(rig, "echo"))
    assert sizes[0] == sizes[5]


def _grown(offer: str, name: str, answered: bool) -> tuple[tuple[int, ...], ...]:
    """What the server has after 3 and after 6 calls of a method."""
    rig, sizes = Rig(), []
    process = offer.partition(".")[0]
    label = [method.name for method in interface(offer).methods()].index(name)
    for number in range(6):
        # All choices are the first, but for the offer, the answer and the label.
        script = bytes([list(OFFERS).index(offer), 0 if answered else 7, label])
        message = Message(rig, Source(script + bytes(100)))
        send = rig.calls.call if answered else rig.calls.send
        with suppress(TimedOut):
            answer = send(rig.slots[offer], label, message.data, message.slots, TIMEOUT)
            for slot in answer[2] if answer else ():
                rig.calls.cap_drop(slot)
        rig.settle()
        if number in (2, 5):
            sizes.append(table(rig, process))
    return tuple(sizes)


@pytest.mark.parametrize("answered", [True, False], ids=["call", "send"])
@pytest.mark.parametrize("offer", OFFERS)
def test_a_server_does_not_grow_by_being_called(offer: str, answered: bool) -> None:
    for method in interface(offer).methods():
        if (offer, method.name) not in MAY_GROW:
            before, after = _grown(offer, method.name, answered)
            assert before == after, method.name
