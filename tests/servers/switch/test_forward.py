"""The bridge: properties that hold whatever its ports send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from servers.switch.forward import MOST_LEARNED, Bridge, Rules

ADDRESSES = [bytes([2, 0, 0, 0, 0, n]) for n in range(6)]
RULES = {
    "a": Rules(frozenset({"x"}), frozenset({ADDRESSES[0]})),
    "b": Rules(frozenset({"x"}), frozenset({ADDRESSES[1], ADDRESSES[2]})),
    "c": Rules(frozenset({"y"}), frozenset({ADDRESSES[3]})),
    "trunk": Rules(frozenset({"x", "y"})),
    "other": Rules(frozenset({"y"})),
}
GROUPS = [b"\xff" * 6, b"\x33\x33\0\0\0\1"]


def bridge() -> Bridge:
    made = Bridge()
    for name, rules in RULES.items():
        made.add(name, rules)
    return made


FRAMES = st.lists(
    st.tuples(
        st.sampled_from(sorted(RULES)),
        st.sampled_from([*ADDRESSES, *GROUPS]),
        st.sampled_from([*ADDRESSES, *GROUPS]),
    ),
    max_size=60,
)


@given(FRAMES)
def test_rules_hold_whatever_is_sent(frames: list[tuple[str, bytes, bytes]]) -> None:
    made = bridge()
    for sender, target, source in frames:
        rules = RULES[sender]
        found = made.receive(sender, target + source)
        assert sender not in found and len(set(found)) == len(found)
        for port in found:
            assert isinstance(port, str)
            assert rules.segments & RULES[port].segments
            if not target[0] & 1 and RULES[port].addresses:
                assert target in RULES[port].addresses
        if rules.addresses and source not in rules.addresses:
            assert not found
        if source[0] & 1:
            assert not found


@given(FRAMES)
def test_addresses_of_a_ports_own_are_always_found(frames: list[tuple[str, bytes, bytes]]) -> None:
    made = bridge()
    for sender, target, source in frames:
        made.receive(sender, target + source)
    assert made.receive("a", ADDRESSES[1] + ADDRESSES[0]) == ["b"]
    assert made.receive("trunk", ADDRESSES[3] + b"\2\0\0\0\1\0") == ["c"]


def test_a_port_that_makes_up_addresses_forgets_its_own_alone() -> None:
    made = bridge()
    station = b"\2\0\0\0\2\0"
    made.receive("other", GROUPS[0] + station)
    for number in range(4 * MOST_LEARNED):
        made.receive("trunk", GROUPS[0] + b"\2\1\0\0" + number.to_bytes(2, "big"))
    assert made.receive("c", station + ADDRESSES[3]) == ["other"]
    known = [
        number
        for number in range(4 * MOST_LEARNED)
        if made.receive("c", b"\2\1\0\0" + number.to_bytes(2, "big") + ADDRESSES[3]) == ["trunk"]
    ]
    assert len(known) == MOST_LEARNED and known[-1] == 4 * MOST_LEARNED - 1
