"""Systems as files: those that are shipped, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.errors import UserError
from tools.system import load
from tools.tcb import figures
from tools.tcb.code import measure
from tools.tcb.graph.closure import closures
from tools.tcb.graph.model import Property
from tools.tcb.report import report
from tools.tcb.systems import models, source
from tools.tcb.systems.description import described


@pytest.mark.parametrize("name", models.known())
def test_a_shipped_model_has_a_guest_and_known_sizes(name: str) -> None:
    graph = source.load(f"model:{name}")
    found = report(graph, "vm:guest")
    assert found.bases[Property.INTEGRITY].total.lines()[measure.OTHER] > 10_000


def lines(name: str) -> int:
    found = report(source.load(f"model:{name}"), "vm:guest").bases[Property.INTEGRITY]
    return found.total.lines()[measure.OTHER]


def test_sizes_are_the_figures_of_those_who_are_trusted() -> None:
    assert lines("nova") == sum(
        figures.figure(name).lines for name in ("nova-2010", "nova-vmm-2010")
    )
    linux = sum(figures.figure(name).lines for name in ("linux-core", "linux-x86"))
    assert lines("qemu-kvm") == linux + sum(
        figures.figure(name).lines for name in ("kvm", "qemu-pc")
    )
    # another guest's monitor is not trusted, however much it is the same program
    assert "other vmm" not in closures(source.load("model:nova"), "guest")[Property.INTEGRITY]


def test_a_graph_can_be_written_and_read_again(tmp_path: Path) -> None:
    graph = described(load("default").description)
    path = tmp_path / "default.json"
    path.write_text(json.dumps(models.dump(graph)))
    again = source.load(str(path))
    for wanted in Property:
        before, after = (closures(each, "vm:linux")[wanted] for each in (graph, again))
        assert before.members() == after.members()


def model(influence: str) -> str:
    return f'name = "m"\n[[component]]\nname = "a"\n[[component]]\nname = "b"\n{influence}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            model("[[influence]]\nsource = 'a'\ntarget = 'c'\nwhy = 'x'"),
            "there is no component 'c'",
        ),
        (model("[[influence]]\nsource = 'a'\nwhy = 'x'"), "is no model of a system: .*`target`"),
        (model("[[influence]]\nproperties = ['all']"), "is no model of a system"),
        ("component = 1", "is no model of a system"),
        ("component = [", r"(?i)toml"),
    ],
)
def test_a_wrong_model_is_one_sentence(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint):
        source.load(str(path))


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="there is no model 'none'; there are nova, qemu-kvm"):
        source.load("model:none")
    with pytest.raises(UserError, match=r"cannot read none\.cdl: No such file"):
        source.load("none.cdl")
