"""The promises of SPECIFICATION.md that a test can check."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

from kernel import abi

ROOT = Path(__file__).resolve().parent.parent
_NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def _docstrings(source: str) -> set[int]:
    """The lines of all docstrings, those of attributes included."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def source_lines(path: Path) -> int:
    """Lines of a file that have code on them."""
    source = path.read_text(encoding="utf-8")
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NOT_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - _docstrings(source))


def _total(*patterns: str) -> int:
    return sum(source_lines(path) for pattern in patterns for path in ROOT.glob(pattern))


def test_counting_leaves_out_what_is_not_code(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text('"""Doc\nstring."""\n\n# comment\nx = """a\nb"""\n\n\ndef f():\n    """Doc."""\n')
    assert source_lines(file) == 3


def test_state_machine_is_under_a_thousand_lines() -> None:
    assert 500 < _total("kernel/*.py") < 1000


def test_privileged_code_is_under_two_thousand_lines() -> None:
    assert _total("kernel/*.py", "kernel/machine/*.py", "kernel/machine/host/*.py") < 2000


def test_limits_of_the_interface() -> None:
    assert len(abi.CALLS) == 28
    assert abi.MAX_PAYLOAD == 64 * 1024
    assert abi.MAX_CAPS == 8
