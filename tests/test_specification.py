"""The promises of SPECIFICATION.md that a test can check."""

from __future__ import annotations

from pathlib import Path

import pygount

from kernel import abi

ROOT = Path(__file__).resolve().parent.parent
INTERFACE = ("abi.py", "wire.py")
"""What user mode shares with the kernel: the table of calls, and the frame around them."""


def source_lines(*paths: Path) -> int:
    """Lines of code as pygount counts them: no blanks, comments, docstrings or lone brackets."""
    return sum(
        pygount.SourceAnalysis.from_file(str(path), "cloister", encoding="utf-8").code_count
        for path in paths
    )


def _files(*patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in ROOT.glob(pattern)]


def test_counting_leaves_out_what_is_not_code(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text('"""Doc\nstring."""\n\n# comment\nx = 1\n\n\ndef f():\n    """Doc."""\n')
    assert source_lines(file) == 2


def test_state_machine_is_under_a_thousand_lines() -> None:
    files = [path for path in _files("kernel/*.py") if path.name not in INTERFACE]
    assert 500 < source_lines(*files) < 1_000


def test_privileged_code_is_under_two_thousand_lines() -> None:
    files = _files("kernel/*.py", "kernel/machine/*.py", "kernel/machine/host/*.py")
    assert 1_000 < source_lines(*files) < 2_000


def test_limits_of_the_interface() -> None:
    assert len(abi.CALLS) == 30
    assert abi.MAX_PAYLOAD == 64 * 1024
    assert abi.MAX_CAPS == 8
