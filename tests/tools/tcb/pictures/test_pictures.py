"""Pictures say what the report says, and are what their endings promise."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools import cli
from tools.errors import UserError
from tools.tcb.graph.closure import closures
from tools.tcb.graph.model import Kind, Property
from tools.tcb.pictures import bars, network, svg
from tools.tcb.report import report
from tools.tcb.systems import source

SPACE = "{http://www.w3.org/2000/svg}"
PNG = b"\x89PNG\r\n\x1a\n"
has_fonts = pytest.mark.skipif(
    not list(Path("/usr/share/fonts").rglob("*.ttf")),
    reason="needs a font; to enable: apt-get install fonts-dejavu-core",
)


def words(picture: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(picture).iter(f"{SPACE}text")]


def test_the_graph_has_everybody_and_marks_who_is_trusted() -> None:
    graph = source.load("default")
    shown = words(network.network(graph, "vm:linux"))
    found = closures(graph, "vm:linux")
    everybody = [name for name in graph.members if not graph.is_rank(name)]
    assert "below everybody: kernel, init, operator  [ICA]" in shown
    for name in everybody:
        if name in ("kernel", "init", "operator"):
            continue
        tag = "".join(p[0].upper() for p in Property if name in found[p])
        assert shown[shown.index(name) + 1] == (tag or "not trusted")


def test_nothing_in_the_graph_is_drawn_over_another() -> None:
    root = ElementTree.fromstring(network.network(source.load("default"), "vm:linux"))
    boxes = [
        tuple(float(rect.get(key, "0")) for key in ("x", "y", "width", "height"))
        for group in root.iter(f"{SPACE}g")
        for rect in group.findall(f"{SPACE}rect")[:1]
    ]
    assert len(boxes) > 15
    for number, (x, y, width, height) in enumerate(boxes):
        assert x >= 0 and x + width <= float(root.get("width", "0"))
        for other_x, other_y, other_width, _ in boxes[number + 1 :]:
            apart = abs(y - other_y) >= height
            assert apart or x + width < other_x or other_x + other_width < x


def test_bars_are_as_long_as_there_is_code() -> None:
    rows = []
    for name in ("xen", "nova"):
        found = report(source.load(f"model:{name}"), "vm:guest")
        rows += bars.rows(name, {p: base.total for p, base in found.bases.items()})
    assert [row.label for row in rows] == ["xen (ICA)", "nova (ICA)"]
    picture = bars.bars(rows)
    drawn = re.findall(r'width="([0-9.]+)"[^>]*><title>other systems: ([0-9,]+)<', picture)
    (first, xen), (second, nova) = ((float(w), int(n.replace(",", ""))) for w, n in drawn)
    assert first / second == pytest.approx(xen / nova, rel=0.02)


def test_nothing_is_told_by_colour_alone() -> None:
    """Each layer has a pattern of its own, and each member its letters."""
    patterns = [look.pattern for look in bars._LOOKS.values()]
    assert len(patterns) == len(set(patterns))


@has_fonts
def test_files_are_what_their_endings_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / name for name in ("g.svg", "b.png", "r.html", "c.svg")}
    command = ["tcb", "report", "--for", "vm:hello", "--graph", str(files["g.svg"])]
    assert cli.main([*command, "--bars", str(files["b.png"]), "--html", str(files["r.html"])]) == 0
    command = ["tcb", "compare", "default@vm:hello", "figure:nova", "--bars", str(files["c.svg"])]
    assert cli.main(command) == 0
    assert ElementTree.parse(files["g.svg"]).getroot().tag == f"{SPACE}svg"
    assert "figure:nova (ICA)" in words(files["c.svg"].read_text())
    picture = files["b.png"].read_bytes()
    assert picture.startswith(PNG)
    assert int.from_bytes(picture[16:20]) > 1000
    page = files["r.html"].read_text()
    assert page.count("<svg") == 2
    assert not re.search(r'(src|href)="', page)
    assert "console holds terminal.terminal" in page
    assert "&quot;sha256&quot;" in page
    capsys.readouterr()


def test_names_cannot_break_out_of_a_picture() -> None:
    shown = svg.text(1, 2, "<script>&")
    assert "<script>" not in shown
    assert ElementTree.fromstring(shown).text == "<script>&"


def test_what_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"a\.gif: a picture's name ends in \.svg or \.png"):
        svg.save("", Path("a.gif"))
    with pytest.raises(UserError, match=r"cannot write .*: No such file"):
        svg.save("", tmp_path / "none" / "a.svg")
    monkeypatch.setattr(svg, "_FONTS", (str(tmp_path),))
    with pytest.raises(UserError, match=r"there are no fonts for a PNG; write \.svg"):
        svg.save(svg.drawing(1, 1, []), tmp_path / "a.png")


def test_an_asset_is_a_subject_too() -> None:
    graph = source.load("default")
    assert graph.components["device:disk0"].kind is Kind.ASSET
    assert "device:disk0 in default" in words(network.network(graph, "device:disk0"))
