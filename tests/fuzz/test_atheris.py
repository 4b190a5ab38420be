"""The runner for a fuzzer that measures coverage, where it is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = importlib.util.find_spec("atheris") is not None


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it in a folder of its own."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r});"
        "from tests.fuzz.atheris_run import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.skipif(INSTALLED, reason="atheris is installed")
def test_without_atheris_it_says_how_to_get_it(tmp_path: Path) -> None:
    done = run(tmp_path, "frame")
    assert done.returncode == 2
    assert done.stderr == "atheris is not installed; get it with: pip install atheris\n"


@pytest.mark.skipif(not INSTALLED, reason="atheris is not installed")
def test_a_target_is_fuzzed(tmp_path: Path) -> None:
    done = run(tmp_path, "frame", "-runs=2000")
    assert done.returncode == 0, done.stderr
    assert "Done 2000" in done.stderr
    assert not list(tmp_path.glob("crash-*"))


@pytest.mark.skipif(not INSTALLED, reason="atheris is not installed")
def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    done = run(tmp_path, "nothing")
    assert done.returncode == 2
    assert "name a target: frame" in done.stderr
