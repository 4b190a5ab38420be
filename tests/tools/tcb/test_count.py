"""Counting trees, raw and as they are configured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tools import cli
from tools.errors import UserError
from tools.tcb.count import count

SOURCE = """\
#include "b.h"
/* a comment
   of two lines */
#ifdef SPECIAL
int special(void) { return 1; }
int another(void) { return 2; }
#else
int usual(void)
{
    return B; // and this
}
#endif
"""
HEADER = "#pragma once\n#define B 3\n#if 0\nint never;\n#endif\nint usual(void);\n"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a.c").write_text(SOURCE)
    (folder / "b.h").write_text(HEADER)
    (folder / "unused.c").write_text("int unused;\n")
    (folder / "tool.py").write_text("x = 1\n")
    (folder / "README.md").write_text("# Read me\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "hook.py").write_text("x = 1\n" * 100)
    (folder / "link.py").symlink_to("tool.py")
    return folder


def database(folder: Path, *options: str, **entry: object) -> Path:
    found = {"directory": str(folder), "file": "a.c", "arguments": ["cc", *options, "-c", "a.c"]}
    path = folder / "compile_commands.json"
    path.write_text(json.dumps([{**found, **entry}]))
    return path


def test_a_tree_by_language(tree: Path) -> None:
    found = count(tree)
    assert found.raw.files == {"C": 3, "Python": 1}
    assert found.raw.lines == {"C": 8 + 5 + 1, "Python": 1}  # what is below #if 0 is a comment
    assert found.skipped == {"not code": 1}
    assert found.configured is None
    assert count(tree / "tool.py").raw.source_lines == 1


@pytest.mark.skipif(not shutil.which("cc"), reason="needs cc; to enable: apt-get install gcc")
@pytest.mark.parametrize(
    ("options", "lines"), [((), 4), (("-DSPECIAL",), 4), (("-include", "unused.c"), 5)]
)
def test_what_a_configuration_compiles(tree: Path, options: tuple[str, ...], lines: int) -> None:
    found = count(tree, database(tree, *options, "-o", "a.o", "-MD", "-MF", "a.d")).configured
    assert found is not None
    assert found.lines == {"C": lines}
    assert not (tree / "a.o").exists()
    assert not (tree / "a.d").exists()


@pytest.mark.skipif(not shutil.which("cc"), reason="needs cc; to enable: apt-get install gcc")
def test_two_commands_together_reach_more(tree: Path) -> None:
    path = database(tree)
    entries = json.loads(path.read_text())
    entries.append({**entries[0], "command": "cc -DSPECIAL -c a.c", "arguments": None})
    path.write_text(json.dumps(entries))
    found = count(tree, path).configured
    assert found is not None
    assert found.source_lines == 6


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"arguments": ["no-such-compiler", "a.c"]}, "no-such-compiler .* does not run"),
        ({"arguments": ["cc", "missing.c"]}, "a command of the compile database fails: .*missing"),
        ({"arguments": [1]}, "is no compile database"),
        ({"directory": None}, "is no compile database"),
    ],
)
def test_a_wrong_database_is_refused(tree: Path, entry: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        count(tree, database(tree, **entry))


def test_the_command(tree: Path, capsys: Captured) -> None:
    assert cli.main(["tcb", "count", str(tree), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source_lines"] == 15
    assert found["languages"]["Python"] == {"files": 1, "source_lines": 1}
    assert cli.main(["tcb", "count", str(tree)]) == 0
    shown = capsys.readouterr().out
    assert "not counted: 1 not code" in shown
    assert cli.main(["tcb", "count", str(tree / "none")]) == 1
    assert "there is no file or folder" in capsys.readouterr().err
