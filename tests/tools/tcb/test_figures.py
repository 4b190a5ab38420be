"""The figures of other systems say where they are from."""

from __future__ import annotations

import pytest

from tools.errors import UserError
from tools.tcb import figures
from tools.tcb.code import measure

FIGURE = """
[[figure]]
name = "a"
title = "A"
role = "kernel"
lines = 10
year = 2020
what = "all of it"
how = "counted"
source = "its tree"
"""


def test_each_figure_has_a_source_and_a_meaning() -> None:
    found = figures.figures()
    assert len(found) >= 30
    for figure in found.values():
        assert len(figure.source) > 10
        assert figure.what
        assert 1990 < figure.year <= 2026
        assert figure.layer in ("", *measure.LAYERS)


@pytest.mark.parametrize(
    ("name", "lines"),
    [("nova-2010", 8_763), ("sel4-x64", 17_449), ("qemu", 1_360_000), ("libtpms-tpm2", 60_900)],
)
def test_well_known_ones_are_there(name: str, lines: int) -> None:
    assert figures.figure(name).lines == lines


def test_layers_of_the_platform_are_sums() -> None:
    parts = ("linux-x86", "linux-core")
    assert figures.layer("host kernel") == sum(figures.figure(name).lines for name in parts)
    assert figures.layer("firmware") == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (FIGURE + FIGURE, "two named 'a'"),
        (FIGURE.replace("10", "0"), "no lines"),
        (FIGURE.replace("counted", "guessed"), "Invalid enum value 'guessed'"),
        (FIGURE.replace('source = "its tree"', ""), "missing required field `source`"),
        (FIGURE + 'who = "me"', "unknown field `who`"),
        ("[[figure", "figures: "),
    ],
)
def test_a_wrong_file_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        figures.parse(text)


def test_an_unknown_figure_is_named() -> None:
    with pytest.raises(UserError, match="no figure named 'nothing'; there are nova-2010"):
        figures.figure("nothing")
