"""``cloister tcb`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pygount import SourceAnalysis

from tools import cli
from tools.tcb import show
from tools.tcb.code import measure
from tools.tcb.graph.model import Property

Captured = pytest.CaptureFixture[str]
PROPERTIES = [str(wanted) for wanted in Property]


@pytest.fixture
def tcb(capsys: Captured) -> Any:
    def run(*words: str, status: int = 0) -> str:
        assert cli.main(["tcb", *words]) == status
        captured = capsys.readouterr()
        return captured.err if status else captured.out

    return run


def test_a_report_has_members_reasons_and_lines_by_layer(tcb: Any) -> None:
    found = json.loads(tcb("report", "--for", "vm:linux", "--json"))
    assert found["for"] == "vm:linux"
    for wanted in PROPERTIES:
        by_name = {member["name"]: member for member in found[wanted]["members"]}
        assert by_name["terminal"]["path"][0] == "console holds terminal.terminal"
        assert by_name["linux"]["lines"]["own"] > by_name["console"]["lines"]["own"] > 500
        assert by_name["linux"]["system_calls"] > 10
        totals = found[wanted]["totals"]
        assert set(totals["lines"]) == set(measure.LAYERS)
        assert totals["lines"]["own"] < sum(each["lines"]["own"] for each in by_name.values())
        assert totals["text_bytes"]["native"] > 1 << 20
        assert any("libc" in name for name in totals["unknown"]["native"])
    assert "audit" in {member["name"] for member in found["availability"]["members"]}
    assert "audit" not in {member["name"] for member in found["integrity"]["members"]}


def test_lines_are_those_that_pygount_counts(tcb: Any) -> None:
    """By hand: every Python file of the manifest, with nothing of ours in between."""
    found = json.loads(tcb("report", "--for", "entropy", "--json"))
    files = [Path(name) for name in found["manifest"]["sha256"] if name.endswith(".py")]
    by_hand = sum(
        SourceAnalysis.from_file(str(file), "by hand", encoding="utf-8").code_count
        for file in files
    )
    layers = [found[wanted]["totals"]["lines"] for wanted in PROPERTIES]
    largest = max(sum(each[name] for name in measure.Layer) for each in layers)
    assert by_hand == largest


def test_a_report_for_people(tcb: Any) -> None:
    shown = tcb("report", "--for", "vm:linux")
    assert "console    ICA" in shown
    assert "scheduler  ..A" in shown
    assert "and what is kept in: " in shown
    assert "Linux" in shown.splitlines()[-1]


def test_a_running_system_is_looked_at(tcb: Any) -> None:
    found = json.loads(tcb("report", "--live", "--for", "vm:hello", "--json"))
    assert found["system"] == "default, running"
    members = {member["name"] for member in found["integrity"]["members"]}
    assert {"hello", "console", "terminal", "kernel"} <= members
    assert "linux" not in members


def test_why(tcb: Any) -> None:
    shown = tcb("why", "vm:linux", "demo")
    assert "vm:linux trusts demo for its integrity and availability:" in shown
    assert "  demo writes device:disk0 through block0\n" in shown
    assert tcb("why", "hello", "demo") == "hello does not have to trust demo in default.\n"
    assert "there is no 'nobody'" in tcb("why", "hello", "nobody", status=1)


def test_protecting_a_disk_is_visible(tcb: Any) -> None:
    words = ("what-if", "--for", "vm:linux", "--wrap", "linux:block0")
    found = json.loads(tcb(*words, "--json"))
    assert {"block0", "demo"} <= set(found["changes"]["integrity"]["gone"])
    assert {"block0", "demo"} <= set(found["changes"]["confidentiality"]["gone"])
    assert found["changes"]["availability"] == {"gone": [], "come": []}
    before, after = (found[when]["integrity"]["lines"]["own"] for when in ("before", "after"))
    assert after < before
    assert "vm:linux, availability: the same members" in tcb(*words)


def test_one_process_for_all(tcb: Any) -> None:
    words = ("what-if", "--for", "vm:hello", "--merge", "console+audit+block0")
    found = json.loads(tcb(*words, "--json"))["changes"]
    assert found["integrity"]["come"][0] == "device:audit.log"
    own = ("what-if", "--for", "vm:demo", "--split", "block0:demo", "--drop", "linux:block0")
    shown = json.loads(tcb(*own, "--json"))["changes"]
    assert shown["integrity"]["come"] == ["block0 for demo"]
    assert "linux" in shown["integrity"]["gone"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--merge", "console"), "merge console: write A+B, or more"),
        (("--drop", "linux"), "drop linux: write two names with a colon between them"),
        (("--drop", "console:block0"), "console holds no capability to block0"),
        (("--wrap", "linux:block0=magic"), "'magic' is no protection of a disk"),
        (("--move", "nobody:block0"), "there is no 'nobody' in default"),
    ],
)
def test_a_wrong_edit_is_one_sentence(tcb: Any, words: tuple[str, ...], complaint: str) -> None:
    said = tcb("what-if", "--for", "vm:linux", *words, status=1)
    assert complaint in said
    assert said.count("\n") == 1


def test_systems_side_by_side(tcb: Any) -> None:
    names = (
        *("default@vm:hello", "default,merge=hello+kernel@vm:hello"),
        *("model:xen@vm:guest", "figure:sel4-x64"),
    )
    found = json.loads(tcb("compare", *names, "--json"))["columns"]
    assert [column["name"] for column in found] == list(names)
    assert found[0]["integrity"]["lines"]["own"] > 2000
    assert found[1]["integrity"]["members"] == found[0]["integrity"]["members"] - 1
    assert found[3]["integrity"]["lines"]["other systems"] == 17_449
    shown = tcb("compare", *names)
    assert "17449" in shown
    assert "github.com/seL4/seL4" in shown


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("default", "write SYSTEM@SUBJECT"),
        ("figure:none", "there is no figure named 'none'"),
        ("default,twist=a@vm:linux", "'twist=a' is no edit"),
        ("none@vm:linux", "there is no system 'none'"),
    ],
)
def test_what_cannot_be_compared_is_named(tcb: Any, name: str, complaint: str) -> None:
    assert complaint in tcb("compare", name, status=1)


def test_a_chain_through_one_process_is_said(capsys: Captured) -> None:
    show.why("a", "b", {}, "sample")
    assert capsys.readouterr().out == "a does not have to trust b in sample.\n"
