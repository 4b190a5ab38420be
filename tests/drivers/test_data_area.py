"""The division of a stream's data area: no byte belongs to two requests, and none is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.block.area import Area

SIZE = 64


@given(st.lists(st.tuples(st.booleans(), st.integers(1, SIZE + 1)), max_size=60))
@settings(max_examples=300, deadline=None)
def test_an_area_behaves_like_a_set_of_bytes(steps: list[tuple[bool, int]]) -> None:
    area, held, used = Area(SIZE), list[tuple[int, int]](), set[int]()
    for take, number in steps:
        if take:
            start = area.take(number)
            holes = "".join(".x"[at in used] for at in range(SIZE)).split("x")
            assert (start is not None) == any(len(hole) >= number for hole in holes)
            if start is not None:
                mine = set(range(start, start + number))
                assert not mine & used and mine <= set(range(SIZE))
                used |= mine
                held.append((start, number))
        elif held:
            start, size = held.pop(number % len(held))
            area.give(start, size)
            used -= set(range(start, start + size))
    for start, size in held:
        area.give(start, size)
    assert area.take(SIZE) == 0


def test_an_empty_area_has_no_room() -> None:
    assert Area(0).take(1) is None
