"""``./cloister`` in a checkout without dependencies: how it makes and keeps its environment."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import environment
from tools.launch import Checkout

ROOT = Path(__file__).resolve().parents[2]
PROJECT = '[project]\nname = "small"\ndependencies = []\n[project.optional-dependencies]\n'
CLI = '"""Stands in for the command line."""\nimport sys\n\n\ndef main() -> int:\n    ' + (
    'print("ran", sys.argv[1:], sys.flags.isolated)\n    return 7\n'
)


def make(folder: Path, project: str = PROJECT) -> Path:
    """A checkout with the real launcher and a command line that only says that it ran."""
    (folder / "tools").mkdir(parents=True)
    (folder / "cloister").write_bytes((ROOT / "cloister").read_bytes())
    (folder / "cloister").chmod(0o755)
    for name in ("__init__.py", "launch.py", "environment.py"):
        (folder / "tools" / name).write_bytes((ROOT / "tools" / name).read_bytes())
    (folder / "tools" / "cli.py").write_text(CLI, encoding="utf-8")
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")
    return folder


def start(checkout: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(checkout / "cloister"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )


def run(checkout: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(checkout, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that was used once, by two processes at the same time."""
    checkout = make(tmp_path_factory.mktemp("launch") / "check out")
    both = [start(checkout, "first"), start(checkout, "second")]
    told = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [7, 7]
    assert sum("preparing its environment" in text for text in told) == 1
    return checkout


def test_later_starts_are_quiet_and_pass_everything_on(made: Path) -> None:
    before = (made / ".venv" / "cloister-stamp").stat().st_mtime_ns
    assert run(made, "boot", "--a", "b c", "") == (7, "ran ['boot', '--a', 'b c', ''] 1\n", "")
    assert (made / ".venv" / "cloister-stamp").stat().st_mtime_ns == before


def test_it_is_found_through_a_link_and_from_its_own_folder(made: Path, tmp_path: Path) -> None:
    (tmp_path / "cloister").symlink_to(made / "cloister")
    assert run(tmp_path, "x") == (7, "ran ['x'] 1\n", "")
    done = subprocess.run(["sh", "cloister", "x"], cwd=made, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (7, b"")


def test_another_python_uses_the_same_environment(made: Path) -> None:
    base = getattr(sys, "_base_executable", sys.executable)
    command = [base, str(made / "cloister"), "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "ran ['x'] 1\n", "")


def test_a_half_made_environment_is_made_again(made: Path) -> None:
    (made / ".venv" / "cloister-stamp").unlink()
    status, _, told = run(made, "x")
    assert status == 7
    assert "preparing its environment" in told
    assert run(made, "x")[2] == ""


@pytest.mark.parametrize("part", ["pyvenv.cfg", "bin/python"])
def test_a_damaged_environment_is_made_again(made: Path, part: str) -> None:
    (made / ".venv" / part).unlink()
    status, _, told = run(made, "x")
    assert status == 7
    assert "preparing its environment" in told


def test_a_moved_checkout_gets_a_new_environment(made: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(made, moved, symlinks=True)
    (moved / ".venv" / "leftover").touch()
    assert "preparing its environment" in run(moved, "x")[2]
    assert not (moved / ".venv" / "leftover").exists()


def test_an_environment_is_brought_up_to_date(made: Path) -> None:
    stamp = made / ".venv" / "cloister-stamp"
    (made / "pyproject.toml").write_text(PROJECT + "# changed\n", encoding="utf-8")
    (made / ".venv" / "kept").touch()
    assert run(made, "x")[0] == 7
    assert stamp.read_text(encoding="utf-8").endswith(PROJECT + "# changed\n")
    assert (made / ".venv" / "kept").exists()


def test_an_environment_that_works_survives_a_failure(made: Path) -> None:
    project = made / "pyproject.toml"
    before = project.read_text(encoding="utf-8")
    project.write_text(before + 'dev = ["cloister-no-such-package"]\n', encoding="utf-8")
    run(made, "test")
    status, _, told = run(made, "test")
    assert status == 1
    assert "No matching distribution found" in told
    project.write_text(before, encoding="utf-8")
    assert run(made, "boot") == (7, "ran ['boot'] 1\n", "")


def test_what_developers_need_is_added_when_they_need_it(made: Path) -> None:
    run(made, "boot")
    stamp = made / ".venv" / "cloister-stamp"
    (made / ".venv" / "kept").touch()
    run(made, "test")
    assert stamp.read_text(encoding="utf-8").startswith("dev\n")
    run(made, "boot")
    assert stamp.read_text(encoding="utf-8").startswith("dev\n")
    assert (made / ".venv" / "kept").exists()


def test_an_environment_for_developers_stays_one_when_it_is_made_again(made: Path) -> None:
    run(made, "test")
    (made / "pyproject.toml").write_text(PROJECT + "# changed again\n", encoding="utf-8")
    run(made, "boot")
    assert (made / ".venv" / "cloister-stamp").read_text(encoding="utf-8").startswith("dev\n")


def test_somebodys_own_environment_is_left_alone(tmp_path: Path) -> None:
    checkout = make(tmp_path / "tree")
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "precious").touch()
    status, _, told = run(checkout, "x")
    assert status == 1
    assert "was not made by ./cloister; move it away" in told
    assert (checkout / ".venv" / "precious").exists()


def test_packages_that_cannot_be_had_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    project = PROJECT.replace("[]", '["cloister-no-such-package"]')
    checkout = make(tmp_path / "tree", project)
    status, out, told = run(checkout, "x")
    assert (status, out) == (1, "")
    assert "No matching distribution found for cloister-no-such-package" in told
    assert told.count("\n") == 2
    assert not (checkout / ".venv").exists()


def test_debian_without_its_venv_package_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> None:
        assert name == "ensurepip"

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(environment.EnvironmentFailure, match="apt install python3-venv"):
        environment.prepare(Checkout(str(make(tmp_path / "tree"))), "")
    assert not (tmp_path / "tree" / ".venv").exists()


def test_without_a_network_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Checkout(str(make(tmp_path / "tree", PROJECT.replace("[]", '["msgpack"]'))))
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'Temporary failure in name resolution'; exit 1\n")
    python.chmod(0o755)
    checkout.python = str(python)
    monkeypatch.setattr(environment, "_create", lambda checkout, progress: None)
    with pytest.raises(environment.EnvironmentFailure, match="connect to the network"):
        environment.prepare(checkout, "")
    assert not Path(checkout.venv).exists()


def test_old_pythons_understand_the_launcher_and_say_what_they_lack() -> None:
    source = (ROOT / "cloister").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 4))
    body = tree.body[: [type(node) for node in tree.body].index(ast.If) + 1]
    code = compile(ast.Module(body, []), "cloister", "exec")

    class Old(tuple[int, ...]):
        pass

    real = sys.version_info, sys.version
    try:
        sys.version_info, sys.version = Old((3, 9, 2)), "3.9.2 (default)"  # type: ignore[assignment]
        with pytest.raises(SystemExit, match=r"Python 3.11 or later is needed, this is 3.9.2$"):
            exec(code, {})
    finally:
        sys.version_info, sys.version = real


def test_a_machine_without_python_is_told_so(tmp_path: Path) -> None:
    checkout = make(tmp_path / "tree")
    done = subprocess.run(
        ["/bin/sh", str(checkout / "cloister")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "cloister: there is no python3 here; install Python 3.11 or later\n"
