"""Who is trusted, and how much code that is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from servers.init.description import Description, ProcessEntry
from tools import cli
from tools.errors import UserError
from tools.system import ROOT, Source
from tools.tcb.code.lines import source_lines
from tools.tcb.modules import follow
from tools.tcb.report import Report, report

ECHO = "tools.bench.programs.server"


def system(**holds: list[str]) -> Source:
    """Processes that each offer ``service`` and hold what is said."""
    processes = [
        ProcessEntry(name=name, program=ECHO, offers=["service"], holds=held)
        for name, held in holds.items()
    ]
    return Source(Description(name="sample", process=processes), Path())


def members(found: Report) -> dict[str, str]:
    return {member.name: member.because for member in found.members}


def test_trust_follows_what_is_held() -> None:
    source = system(guest=["disk"], disk=["store"], store=[], other=["store"])
    assert members(report(source, "guest")) == {
        "guest": "the process itself",
        "disk": "guest holds disk.service",
        "store": "guest > disk holds store.service",
        "init": "made it, and owns every endpoint",
        "kernel": "runs privileged",
    }
    assert "guest" not in members(report(source, "store"))


def test_a_circle_of_trust_ends() -> None:
    found = members(report(system(a=["b"], b=["c"], c=["a"]), "a"))
    assert list(found) == ["a", "b", "c", "init", "kernel"]


def test_shared_code_counts_once() -> None:
    found = report(system(a=["b"], b=[]), "a")
    first, second = found.members[:2]
    assert first.lines == second.lines > 0
    assert found.lines < sum(member.lines for member in found.members)
    assert found.lines >= max(member.lines for member in found.members)


def test_an_unknown_process_is_named() -> None:
    with pytest.raises(UserError, match="no process named 'nobody' in sample; there are a"):
        report(system(a=[]), "nobody")


def test_a_wrong_description_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"there is no .*named 'nobody'"):
        report(system(a=["nobody"]), "a")
    process = ProcessEntry(name="a", program="no_such_program")
    with pytest.raises(UserError, match=r"source of no_such_program\.main, which a runs"):
        report(Source(Description(name="sample", process=[process]), Path()), "a")


def test_json_has_the_reasons_and_the_platform(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tcb", "report", "--for", "linux", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["for"] == "linux"
    assert "unicorn" in found["packages"]
    assert found["platform"][0].startswith(("CPython", "PyPy"))
    by_name = {member["name"]: member for member in found["members"]}
    assert by_name["terminal"]["because"] == "linux > console holds terminal.terminal"
    assert "audit" not in by_name
    assert "kernel.machine.host.machine" in by_name["kernel"]["modules"]
    assert "kernel.machine.sim" not in by_name["kernel"]["modules"]
    assert found["lines"] == sum(
        source_lines(ROOT / file)
        for file in {_file(module) for member in found["members"] for module in member["modules"]}
    )


def _file(module: str) -> Path:
    base = Path(*module.split("."))
    package = base / "__init__.py"
    return package if (ROOT / package).exists() else base.with_suffix(".py")


def test_a_table_says_what_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tcb", "report", "--for", "entropy"]) == 0
    shown = capsys.readouterr().out
    assert "Not counted: the packages (" in shown
    assert "CPython" in shown or "PyPy" in shown


def test_imports_are_followed_as_far_as_they_are_ours(tmp_path: Path) -> None:
    (tmp_path / "ours" / "deep").mkdir(parents=True)
    files = {
        "ours/__init__.py": "",
        "ours/main.py": (
            "import os, msgspec\n"
            "from typing import TYPE_CHECKING\n"
            "from ours import near\n"
            "if TYPE_CHECKING:\n    import ours.never\nelse:\n    import ours.instead\n"
            "def f():\n    import ours.deep.late\n    __import__('x')\n"
            "    importlib.import_module('ours.by_name')\n"
        ),
        **dict.fromkeys(
            ("ours/near.py", "ours/never.py", "ours/instead.py", "ours/by_name.py"), "x = 1\n"
        ),
        "ours/deep/__init__.py": "",
        "ours/deep/late.py": "import ours.main\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    code = follow(["ours.main"], [tmp_path])
    names = {"ours", "ours.main", "ours.near", "ours.instead", "ours.by_name"}
    assert code.modules.keys() == names | {"ours.deep", "ours.deep.late"}
    assert code.packages == {"msgspec"}
